"""How much gradients of the same completions at the same policy differ with the masks, from AdamW's state.

With both decays next to 1 and a learning rate next to nothing, AdamW's moments over K updates on the same completions are
the mean of the gradient and of its square. The variance is the difference, summed over all parameters, times K / (K - 1).
Masks of different completions are independent, so what the run without negatives has belongs to the good completions, and
the rest to the bad ones.
"""

import array
import collections
import json
import pathlib
import statistics
import struct
import sys


def tensors(path):
    """Names and values of a safetensors file of f32."""
    data = path.read_bytes()
    (length,) = struct.unpack("<Q", data[:8])
    for name, entry in json.loads(data[8 : 8 + length]).items():
        if name != "__metadata__":
            begin, end = entry["data_offsets"]
            yield name, array.array("f", data[8 + length + begin : 8 + length + end])


def moments(run):
    """The squared norm of the mean gradient, and the variance over masks."""
    (checkpoint,) = run.glob("checkpoint-*")
    updates = int(checkpoint.name.rpartition("-")[2])
    state = dict(tensors(checkpoint / "optimizer.safetensors"))
    share = 1 - 0.9999**updates  # of the weights that the moving averages have given away by now
    mean = square = 0.0
    for name, values in state.items():
        if name.endswith(".exp_avg"):
            mean += sum((v / share) ** 2 for v in values)
        elif name.endswith(".exp_avg_sq"):
            square += sum(values) / share
    variance = (square - mean) * updates / (updates - 1)
    return mean - variance / updates, variance


sweep = pathlib.Path(sys.argv[1])
points = collections.defaultdict(dict)
for run in json.loads((sweep / "sweep.json").read_text())["runs"]:
    key, _, value = run["point"][0].rpartition("=")
    name = "without" if key.endswith("negative_estimator") else value
    points[name][run["seed"]] = moments(sweep / run["name"])

print("| omega | norm of the mean gradient | variance over masks | of it by bad completions | beside omega = 0 |")
print("|---|---|---|---|---|")
positive = points["without"]
for name, runs in points.items():
    norm = statistics.fmean(max(m, 0.0) ** 0.5 for m, _ in runs.values())
    total = statistics.fmean(v for _, v in runs.values())
    bad = {seed: v - positive[seed][1] for seed, (_, v) in runs.items()}
    if name == "without":
        cells = ["no negatives", f"{norm:.3g}", f"{total:.3g}", "", ""]
    else:
        ratio = [bad[seed] / (points["0"][seed][1] - positive[seed][1]) for seed in bad]
        spread = f"{statistics.fmean(ratio):.2f} ± {statistics.stdev(ratio):.2f}"
        cells = [name, f"{norm:.3g}", f"{total:.3g}", f"{statistics.fmean(bad.values()):.3g}", spread]
    print("| " + " | ".join(cells) + " |")
