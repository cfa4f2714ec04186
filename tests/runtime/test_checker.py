"""What the checker of plans refuses, and how it says so."""

import re

import pytest

import graphc as gx
from graphc.ir.errors import GraphcError, PlanError
from graphc.runtime import master
from graphc.runtime.checker import check
from graphc.runtime.messages import Registered, decode, encode
from graphc.runtime.order import Event, Kind, Order, packed, unpacked
from graphc.runtime.part import End
from tests.runtime.circles import ring, spec_of
from tests.runtime.cluster import SimulatedCluster

KINDS = {"post": Kind.POST, "send": Kind.SEND, "wait": Kind.WAIT, "fork": Kind.FORK,
         "join": Kind.JOIN, "commit": Kind.COMMIT}  # fmt: skip


def events(text):
    """`send0 wait0 commit` as events."""
    found = re.findall(r"([a-z]+)(\d*)", text)
    return [Event(KINDS[kind], int(number or 0)) for kind, number in found]


def orders(*texts, **changes):
    """Tasks A, B, ...: each a text, with `/` between strands; `a3={...}` changes A's end of m3.

    Who begins to send a message is its sender, who posts it is its receiver.
    """
    tasks = [[events(strand) for strand in text.split("/")] for text in texts]
    sides = [{}, {}]
    for rank, strands in enumerate(tasks):
        for kind, number in (event for strand in strands for event in strand):
            if kind in (Kind.SEND, Kind.POST):
                sides[kind is Kind.POST].setdefault(number, rank)
    found = {}
    for rank, strands in enumerate(tasks):
        ends = [
            {
                number: End(**{"peer": other.get(number, 9), "label": f"m{number}"}
                            | changes.get(f"{'abcd'[rank]}{number}", {}))
                for number, task in side.items()
                if task == rank
            }
            for side, other in (sides, sides[::-1])
        ]  # fmt: skip
        found[rank] = Order("ABCD"[rank], strands, *ends)
    return found


def refusal(*texts, agree=False, **changes):
    with pytest.raises(PlanError) as error:
        check(orders(*texts, **changes), agree=agree)
    return str(error.value)


CIRCLE = "a step would never end, because these tasks wait in a circle:\n"


@pytest.mark.parametrize(
    "texts",
    [
        ("", ""),
        ("post1 send0 wait1 wait0", "post0 send1 wait0 wait1"),
        ("send0 wait0 post1 wait1", "post0 wait0 send1 wait1"),
        ("fork1 post0 wait0 join1/send1 wait1", "send0 fork1 wait0 join1/post1 wait1"),
        ("fork1 join1/fork2 join2 post1 wait1/send0 wait0", "post0 send1 wait1 wait0"),
        ("send0 fork1 join1/fork2 join2/wait0", "post0 wait0"),
        ("fork1 join1 wait0/send0", "post0 wait0"),
    ],
)
def test_orders_that_end(texts):
    check(orders(*texts))


def test_two_that_wait_before_they_send():
    assert refusal("post1 wait1 send0 wait0", "post0 wait0 send1 wait1") == (
        CIRCLE + "  A waits for B to send m1\n  B waits for A to send m0"
    )


def test_two_that_wait_for_their_sends_before_they_post():
    assert refusal("send0 wait0 post1 wait1", "send1 wait1 post0 wait0") == (
        CIRCLE + "  A waits for B to receive m0\n  B waits for A to receive m1"
    )


def test_the_shortest_of_two_circles_is_shown():
    """A, B and C wait in a ring; A's other strand and D wait for each other."""
    found = refusal(
        "fork1 post2 wait2 send0 wait0 join1/post3 wait3 send4 wait4",
        "post0 wait0 send1 wait1",
        "post1 wait1 send2 wait2",
        "post4 wait4 send3 wait3",
    )
    assert found == (CIRCLE + "  A, strand 1, waits for D to send m3\n  D waits for A to send m4")


def test_a_strand_that_is_forked_too_late():
    found = refusal("post1 wait1 fork1 join1/send0 wait0", "post0 wait0 send1 wait1")
    assert found == CIRCLE + "  A waits for B to send m1\n  B waits for A to send m0"


def test_a_strand_that_is_joined_too_early():
    found = refusal("fork1 join1 send0 wait0/post1 wait1", "post0 wait0 send1 wait1")
    lines = ["A waits for its strand 1 to end", "A, strand 1, waits for B to send m1",
             "B waits for A to send m0"]  # fmt: skip
    assert found == CIRCLE + "\n".join(f"  {line}" for line in lines)


def test_what_is_sent_behind_a_commit_that_waits_for_its_receiver():
    texts = "commit send0 wait0", "post0 wait0 commit"
    check(orders(*texts))
    assert refusal(*texts, agree=True) == (
        CIRCLE
        + "  A waits for B to have computed, before variables are written\n"
        + "  B waits for A to send m0"
    )


@pytest.mark.parametrize(
    ("texts", "changes", "message"),
    [
        (("send0 wait0", ""), {}, "nobody receives m0 that A sends"),
        (("", "post0 wait0"), {}, "nobody sends m0 that B receives"),
        (("send0 wait0", "post0 wait0"), {"a0": {"peer": 2}}, "nobody receives m0 that A sends"),
        (("send0 wait0", "post0 wait0"), {"b0": {"peer": 2}}, "receives it from another task"),
        (("send0 wait0", "post0 wait0"), {"a0": {"size": 4}, "b0": {"size": 8}},
         "m0 is sent by A in 4 bytes, but B receives 8"),
        (("send0 wait0", "post0 wait0"), {"a0": {"tag": 1}}, "with another tag"),
        (("wait0 send0", "post0 wait0"), {}, "A sends m0, but does not begin that and then wait"),
        (("fork1 fork2 join1 join2/send0/wait0", "post0 wait0"), {}, "A sends m0, but does not"),
        (("send0 wait0", "post0"), {}, "B receives m0, but does not begin that and then wait"),
        (("send0 wait0 wait0", "post0 wait0"), {}, "A has WAIT 0 twice"),
        (("send0 send0 wait0", "post0 wait0"), {}, "A has SEND 0 twice"),
        (("wait3", ""), {}, "A waits for message 3, which it never begins"),
        (("send0 fork1 join1", "post0 wait0"), {}, "A has no strand 1 beside another"),
        (("fork1/send0 wait0", "post0 wait0"), {}, "strand 1 of A is not forked and later joined"),
        (("join1 fork1/", ""), {}, "strand 1 of A is not forked and later joined"),
        (("/fork2 join2/fork1 join1", ""), {}, "strand 1 of A is forked by itself"),
        (("send0 send1 wait0 wait1", "post1 post0 wait0 wait1"),
         {end: {"tag": 5} for end in ("a0", "a1", "b0", "b1")},
         "m0 and m1 share a tag and are not in one order at A and B"),
    ],
)  # fmt: skip
def test_ends_that_do_not_fit(texts, changes, message):
    assert message in refusal(*texts, **changes)


def test_a_message_that_two_tasks_receive():
    found = orders("send0 wait0", "post0 wait0", "")
    found[2] = Order("C", found[1].strands, {}, found[1].receives)
    with pytest.raises(PlanError, match="m0 is received by B and C, but sent once"):
        check(found)


def test_a_task_that_does_not_commit():
    assert refusal("commit", "", agree=True) == "B does not commit with all others"
    assert refusal("fork1 join1/commit", agree=True) == "A does not commit with all others"


def test_orders_travel_in_few_bytes():
    strands = [events("post0 fork1 send700 wait700 join1 wait0 commit"), events("send8 wait8")]
    message = Registered(3, ("v",), packed(strands))
    assert decode(encode(message)) == message
    assert unpacked(message.order) == strands
    assert len(encode(message)) < 64


@pytest.mark.parametrize("codes", [(), (8,), (7, 5), (-1, 6), ("x", 6), (1.5, 6)])
def test_an_order_that_is_damaged(codes):
    with pytest.raises(GraphcError, match="the order of a program is damaged"):
        unpacked(codes)


def test_each_plan_is_checked_once(monkeypatch):
    checked = []

    def spy(plan, cluster, strands):
        checked.append(plan.edges)
        return check_plan(plan, cluster, strands)

    check_plan = master.check_plan
    monkeypatch.setattr(master, "check_plan", spy)
    fed, sums, _ = ring(0, 3)

    def script(session):
        for _ in range(3):
            yield from session.run(sums, feeds={fed: [1.0, 1.0]})
        yield from session.run(sums[:1], feeds={fed: [1.0, 1.0]})

    cluster = SimulatedCluster(spec_of(3))
    cluster.run(cluster.client(0, script))
    assert len(checked) == 2
    assert all(checked)


def test_a_plan_error_is_public():
    assert issubclass(gx.PlanError, gx.GraphcError)
