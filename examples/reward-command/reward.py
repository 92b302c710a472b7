"""Rewards for writing a word backwards: one JSON object in, one JSON object out, line by line."""

import json
import sys

for line in sys.stdin:
    request = json.loads(line)
    answer = request["completion"].strip()
    wanted = request["record"]["word"][::-1]
    right = sum(a == b for a, b in zip(answer, wanted))
    parts = {
        "letters": right / max(len(answer), len(wanted)),  # too long is as wrong as too short
        "exact": 1.0 if answer == wanted else 0.0,
    }
    print(json.dumps({"reward": sum(parts.values()), "parts": parts}), flush=True)
