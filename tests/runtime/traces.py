"""What every Chrome trace of a timeline has to be."""

from itertools import pairwise

REQUIRED = {
    "X": {"name", "cat", "pid", "tid", "ts", "dur", "args"},
    "M": {"name", "pid", "tid", "args"},
    "s": {"name", "cat", "pid", "tid", "ts", "id"},
    "f": {"name", "cat", "pid", "tid", "ts", "id", "bp"},
}


def check(trace):
    """Fields are there, rows have names, nothing overlaps in a row, arrows end in slices."""
    events = trace["traceEvents"]
    for event in events:
        missing = REQUIRED[event["ph"]] - event.keys()
        assert not missing, (event, missing)
    named = {(e["pid"], e["tid"]) for e in events if e["name"] == "thread_name"}
    rows = {}
    for event in slices(trace):
        assert event["ts"] >= 0
        assert event["dur"] > 0
        rows.setdefault((event["pid"], event["tid"]), []).append(event)
    assert rows.keys() <= named
    for row in rows.values():
        row.sort(key=lambda e: e["ts"])
        for one, after in pairwise(row):
            assert one["ts"] + one["dur"] <= after["ts"] + 1e-6, (one, after)
    for end in (e for e in events if e["ph"] in "sf"):
        around = rows[end["pid"], end["tid"]]
        assert any(e["ts"] <= end["ts"] < e["ts"] + e["dur"] for e in around), end


def slices(trace, row=None):
    return [e for e in trace["traceEvents"] if e["ph"] == "X" and row in (None, e["cat"])]


def transfers(trace):
    """For each arrow the slices of the send and of its receive; every transfer has one."""
    ends = {"s": {}, "f": {}}
    for end in (e for e in trace["traceEvents"] if e["ph"] in "sf"):
        row = [
            e for e in slices(trace, "send" if end["ph"] == "s" else "receive")
            if (e["pid"], e["tid"]) == (end["pid"], end["tid"])
            and e["ts"] <= end["ts"] < e["ts"] + e["dur"]
        ]  # fmt: skip
        (ends[end["ph"]][end["id"]],) = row
    assert ends["s"].keys() == ends["f"].keys()
    assert len(ends["s"]) == len(slices(trace, "send")) == len(slices(trace, "receive"))
    return [(ends["s"][number], ends["f"][number]) for number in ends["s"]]
