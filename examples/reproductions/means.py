"""Means of figures of metrics.jsonl over the updates of every run of a sweep, or the last N, and over its seeds."""

import argparse
import collections
import json
import pathlib
import statistics

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("sweep", type=pathlib.Path)
parser.add_argument("figures", nargs="+")
parser.add_argument("--last", type=int, default=0, metavar="N")
args = parser.parse_args()

points = collections.defaultdict(list)
for run in json.loads((args.sweep / "sweep.json").read_text())["runs"]:
    rows = map(json.loads, (args.sweep / run["name"] / "metrics.jsonl").read_text().splitlines())
    updates = [row for row in rows if "loss" in row][-args.last :]
    # a figure is null where no completion has it
    known = {f: [row[f] for row in updates if row.get(f) is not None] for f in args.figures}
    name = ", ".join(assignment.rpartition(".")[2] for assignment in run["point"])
    points[name].append([statistics.fmean(known[f]) for f in args.figures])

print("|".join(["", " point ", *(f" {f} " for f in args.figures), ""]))
print("|---" * (1 + len(args.figures)) + "|")
for name, runs in points.items():
    cells = []
    for values in zip(*runs):
        spread = f" ± {statistics.stdev(values):.2g}" if len(values) > 1 else ""
        cells.append(f" {statistics.fmean(values):.4g}{spread} ")
    print("|".join(["", f" {name} ", *cells, ""]))
