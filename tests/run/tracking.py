"""Reads what a run wrote for TensorBoard, trackio and pyarrow with those packages, as far as they are installed, and
compares it with the run's metrics.jsonl. Arguments: the run folder; TRACKIO_DIR is that of the run."""

import collections
import json
import math
import pathlib
import struct
import sys

run = pathlib.Path(sys.argv[1])
rows = [json.loads(line) for line in open(run / "metrics.jsonl")]
steps_of_rows = sorted(row["step"] for row in rows)


def missing(package):
    try:
        __import__(package)
        return False
    except ImportError:
        print(f"not read, as there is no {package}")
        return True


def single(value):
    return struct.unpack("f", struct.pack("f", math.nan if value is None else value))[0]


def same(a, b):
    # a row that went through a file before it was handed over may have lost its last bit
    return math.isclose(a, b, rel_tol=1e-12) or (math.isnan(a) and math.isnan(b))


def tensorboard():
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(run / "tensorboard"), size_guidance={"scalars": 0, "tensors": 0})
    events.Reload()
    expected = collections.defaultdict(list)
    for row in rows:
        for name, value in row.items():
            if name != "step" and not isinstance(value, (str, bool)):
                expected[name].append((row["step"], single(value)))
    assert set(events.Tags()["scalars"]) == set(expected), events.Tags()
    for name, values in expected.items():
        found = [(event.step, event.value) for event in events.Scalars(name)]
        assert len(found) == len(values), (name, found, values)
        assert all(a[0] == b[0] and same(a[1], b[1]) for a, b in zip(found, values)), (name, found, values)
    print(f"tensorboard: {len(expected)} tags, {sum(map(len, expected.values()))} values as in metrics.jsonl")


def trackio():
    from trackio import fragments
    from trackio.sqlite_storage import SQLiteStorage

    imported = fragments.import_inbox_dir()
    project = "spg"
    (name,) = SQLiteStorage.get_runs(project)
    logs = SQLiteStorage.get_logs(project, name)
    assert sorted(log["step"] for log in logs) == steps_of_rows, (steps_of_rows, logs)
    for row in rows:
        found = [log for log in logs if log["step"] == row["step"] and set(row) <= set(log)]
        wanted = lambda log: all(same(log[key], value) for key, value in row.items() if isinstance(value, float))
        assert len(found) == 1 and wanted(found[0]), (row, found)
    config = SQLiteStorage.get_run_config(project, name)
    assert config["train"]["max_steps"] == rows[-1]["step"], config
    print(f"trackio: {imported} records imported, {len(logs)} rows of run {name} as in metrics.jsonl")


def pyarrow():
    from pyarrow import parquet

    files = sorted((run / "completions").glob("completions_*.parquet"))
    for path in files:
        table = parquet.read_table(path)
        assert table.column_names[:3] == ["step", "prompt", "completion"], table.column_names
        assert table.column_names[-1] == "advantage", table.column_names
        (step,) = set(table["step"].to_pylist())
        (row,) = [row for row in rows if row["step"] == step and "reward" in row]
        rewards = table["sudoku"].to_pylist()
        assert abs(sum(rewards) / len(rewards) - row["reward"]) < 1e-12, (rewards, row)
    for path in sorted((run / "completions").glob("eval_*.parquet")):
        table = parquet.read_table(path)
        assert {"setting", "completion", "solved"} <= set(table.column_names), table.column_names
    print(f"pyarrow: {len(files)} phases of completions, with the rewards of metrics.jsonl")


for check in (tensorboard, trackio, pyarrow):
    if not missing(check.__name__):
        check()
