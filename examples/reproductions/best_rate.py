"""The learning rate at which a point of a sweep, such as algorithm=d1, ended with the largest reward, from report.csv."""

import csv
import sys

report, point = sys.argv[1:]
with open(report, newline="") as file:
    runs = [row for row in csv.DictReader(file) if point in row["run"].split(",")]
if not runs or any(row["state"] != "finished" for row in runs):
    sys.exit(f"{report}: the runs of {point} are not finished")
print(max(runs, key=lambda row: float(row["t0.9/reward/end"]))["learning_rate"])
