"""Control messages: what is decoded is what was encoded, and damage is one error."""

import pytest

from graphc.ir.errors import GraphcError
from graphc.runtime import messages
from graphc.runtime.messages import decode, encode

MESSAGES = [
    messages.Register(
        1,
        2,
        "graph\n",
        ("n",),
        ("x:0->", "é"),
        (0, 1),
        (2, 3),
        True,
        (4, 5),
        (),
        ((1, 2), ("a", "b"), 0, "n", True),
        b"",
    ),
    messages.Register(1, 2, "", (), (), (), (), False, (), ("x:0->",), (), bytes(range(256))),
    messages.Registered(3, ("w", "b"), (1, -2)),
    messages.Refused(3, "GraphError", "two\nlines"),
    messages.Run(1, 2, 3, 4, ()),
    messages.Run(1, 2, 2**40, 2**30, (5, -6)),
    messages.Computed(7),
    messages.Failed(7, "DataError", "label out of range"),
    messages.Commit(1, 7),
    messages.Abort(1, 2, 7, 4, (5, 6)),
    messages.Aborted(7, ()),
    messages.Aborted(7, (1, 2, 3)),
    messages.Drain(1, 7, (1, 2, 3)),
    messages.Drained(7),
    messages.Close(1),
    messages.Committed(7),
    messages.Inquire(1, 2, 7),
    messages.Standing(1, 2, 7, 3),
    messages.Meet(),
    messages.Turn(7, 2**62, 2**32 - 1, 5, ()),
    messages.Turn(7, 2**62, 0, 0, (3, 4)),
    messages.Doing(7, "run w:0, fed x:0"),
    messages.Doubt(2**13, 7),
    messages.Left(3),
    messages.Lost(),
    messages.Leave(),
]


@pytest.mark.parametrize("message", MESSAGES, ids=lambda m: type(m).__name__)
def test_a_message_comes_as_it_was_sent(message):
    for data in (encode(message), memoryview(bytearray(encode(message)))):
        found = decode(data)
        assert found == message
        assert type(found) is type(message)


def test_every_kind_is_tested():
    assert {type(m) for m in MESSAGES} == set(messages.Message.__args__)


@pytest.mark.parametrize("message", MESSAGES, ids=lambda m: type(m).__name__)
def test_damage_is_one_error(message):
    data = encode(message)
    for damaged in (b"", b"\xff" + data[1:], data[:1] + b"x", data[: min(7, len(data) // 2)]):
        with pytest.raises(GraphcError, match=r"a control message of .* is damaged"):
            decode(damaged)
