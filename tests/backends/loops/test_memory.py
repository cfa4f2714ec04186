"""The arena's layout, held against an independent check: nothing alive at one time overlaps."""

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from graphc.backends.loops.memory import Interval, Layout, overlaps, plan_memory, plan_slots

intervals = st.lists(
    st.builds(
        lambda size, first, length: Interval(size, first, first + length),
        st.integers(1, 5000), st.integers(0, 30), st.integers(0, 12),
    ),
    max_size=40,
)  # fmt: skip


def alive_bytes(plan, step):
    return sum(-(-i.bytes // 64) * 64 for i in plan if i.first <= step <= i.last)


@given(intervals)
def test_nothing_alive_overlaps(plan):
    layout = plan_memory(plan)
    assert list(overlaps(plan, layout)) == []
    assert all(offset % 64 == 0 for offset in layout.offsets)


@given(intervals)
def test_the_peak_is_what_is_used_and_at_least_what_is_alive(plan):
    layout = plan_memory(plan)
    ends = [o + -(-i.bytes // 64) * 64 for o, i in zip(layout.offsets, plan, strict=True)]
    assert layout.peak == max(ends, default=0)
    assert layout.peak >= max((alive_bytes(plan, step) for step in range(45)), default=0)


def test_memory_is_used_again():
    plan = [Interval(100, 0, 1), Interval(100, 1, 2), Interval(100, 2, 3)]
    assert plan_memory(plan).peak == 256


@given(intervals.filter(lambda plan: len(plan) >= 2))
def test_the_check_finds_a_planted_overlap(plan):
    first = replace(plan[0], first=0, last=50)
    planted = Layout((0,) * len(plan), 0)
    assert list(overlaps([first, *plan[1:]], planted))


@given(intervals)
def test_intervals_in_one_slot_are_never_alive_together(plan):
    slots = plan_slots(plan)
    for i, a in enumerate(plan):
        for j, b in enumerate(plan[:i]):
            if slots[i] == slots[j]:
                assert a.last < b.first or b.last < a.first
