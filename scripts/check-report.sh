#!/usr/bin/env bash
# Opens a report of `spg report` in headless Chromium: nothing is reported as an error, nothing is asked of the network,
# the replay plays to its end, the page fits a phone, and a picture can be taken of it.
#
#   scripts/check-report.sh REPORT.html [PICTURE.png]
set -euo pipefail

if [[ $# -lt 1 || ! -f $1 ]]; then
    echo "usage: scripts/check-report.sh REPORT.html [PICTURE.png]" >&2
    exit 2
fi
report=$(realpath "$1")
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
picture=${2:-$scratch/picture.png}

fail() {
    echo "error: $report: $*" >&2
    exit 1
}

# A window of the given size and time enough for a replay; the rest are arguments of its own.
browse() {
    local sandbox=()
    if [[ $(id -u) == 0 ]]; then sandbox=(--no-sandbox); fi # as root it has none
    timeout 120 chromium --headless --disable-gpu --no-first-run --hide-scrollbars --disable-background-networking \
        --disable-component-update --disable-sync --disable-default-apps --disable-dev-shm-usage "${sandbox[@]}" \
        --proxy-server=127.0.0.1:9 --proxy-bypass-list='<-loopback>' \
        --user-data-dir="$scratch/profile" --virtual-time-budget=30000 --enable-logging=stderr \
        --log-net-log="$scratch/net.json" --net-log-capture-mode=Everything "$@" 2> "$scratch/log"
    if grep -q CONSOLE "$scratch/log"; then fail "$(grep CONSOLE "$scratch/log" | head -n 3)"; fi
    grep -q '"constants"' "$scratch/net.json" || fail "there is no log of requests"
    # what the browser asks on its own account has no origin
    grep '"initiator":' "$scratch/net.json" | grep -v '"initiator":"not an origin"' > "$scratch/asked" || true
    if [[ -s $scratch/asked ]]; then fail "it asked for $(grep -o '"url":"[^"]*' "$scratch/asked" | head -n 3)"; fi
}

browse --dump-dom "file://$report#replay-play" > "$scratch/dom.html"
html=$(grep -m 1 '<html' "$scratch/dom.html")
[[ $html != *data-error=* ]] || fail "the page says $html"
if grep -q 'id="replay-data"' "$report"; then
    [[ $html =~ data-replay=\"([0-9]+)/([0-9]+)\" ]] || fail "the replay did not start: $html"
    [[ ${BASH_REMATCH[1]} == "${BASH_REMATCH[2]}" && ${BASH_REMATCH[2]} -gt 0 ]] || fail "the replay did not end: $html"
    echo "$report: the replay plays ${BASH_REMATCH[2]} steps"
fi

for size in 390,844 1200,1600; do
    browse --window-size="$size" --screenshot="$picture" "file://$report"
    [[ $(head -c 4 "$picture") == $'\x89PNG' && $(stat -c %s "$picture") -gt 20000 ]] || fail "the picture is empty"
done
echo "$report: no errors, no requests"
