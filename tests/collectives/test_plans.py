"""Every plan, in symbols: what is combined, in which order, and that nothing waits in a circle."""

import random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from graphc.compiler.collectives import (
    SCRATCH,
    Combine,
    Plan,
    Receive,
    Send,
    Wait,
    direct,
    ring,
    scattered,
    tree,
)
from graphc.compiler.collectives.formulas import (
    direct_sent,
    ring_sent,
    scattered_sent,
    tree_sent,
)
from tests.collectives.checker import Machine

SENT = {
    ring: ring_sent,
    direct: lambda m, members, elements: direct_sent(members, elements),
    scattered: scattered_sent,
}


def results(plans, seed=0):
    """Row 0 of every member, in expressions; checks everything on the way."""
    machine = Machine(plans)
    machine.run(random.Random(seed).choice)
    assert sorted(machine.messages) == list(range(plans[0].messages))
    assert len({plan.messages for plan in plans}) == 1
    assert machine.elements_sent == [plan.elements_sent for plan in plans]
    return [member.memory[0] for member in machine.members]


def leaves(expression):
    if isinstance(expression[0], tuple):
        return [leaf for part in expression for leaf in leaves(part)]
    return [expression]


def chain(operands):
    """((a b) c) d"""
    total, *others = operands
    for operand in others:
        total = total, operand
    return total


@st.composite
def sizes(draw):
    return draw(st.integers(1, 17)), draw(st.integers(0, 200))


@given(sizes(), st.integers(1, 5), st.integers(0, 1000))
def test_ring(size, pieces, seed):
    members, elements = size
    found = results([ring(m, members, elements, pieces) for m in range(members)], seed)
    assert all(row == found[0] for row in found)
    for e, expression in enumerate(found[0]):
        order = [member for member, _, _ in leaves(expression)]
        # each member's own elements come before what it was sent
        start = order[-1]
        assert order == [(start - n - 1) % members for n in range(members)]
        assert {leaf[1:] for leaf in leaves(expression)} == {(0, e)}


def test_small_sizes_all_of_them():
    for members in range(1, 6):
        for elements in range(3 * members + 2):
            for pieces in (1, 2, 3):
                results([ring(m, members, elements, pieces) for m in range(members)])
            for algorithm in (direct, scattered):
                results([algorithm(m, members, elements) for m in range(members)])


@given(sizes(), st.integers(0, 1000))
def test_direct_combines_in_the_order_of_members(size, seed):
    members, elements = size
    found = results([direct(m, members, elements) for m in range(members)], seed)
    wanted = [chain([(m, 0, e) for m in range(members)]) for e in range(elements)]
    assert all(row == wanted for row in found)


@given(sizes(), st.integers(0, 1000))
def test_scattered_combines_from_the_owner_on(size, seed):
    members, elements = size
    found = results([scattered(m, members, elements) for m in range(members)], seed)
    counts = [len(part) for part in np.array_split(np.arange(elements), members)]
    owners = np.repeat(np.arange(members), counts).tolist()
    wanted = [
        chain([((owner + n) % members, 0, e) for n in range(members)])
        for e, owner in enumerate(owners)
    ]
    assert all(row == wanted for row in found)


def split(first, last):
    """The tree over shards that they alone determine."""
    if last - first == 1:
        return first
    middle = (first + last) // 2
    return split(first, middle), split(middle, last)


def filled(shape, bounds, element):
    """The tree with the rows that the members hold for leaves."""
    if isinstance(shape, tuple):
        return tuple(filled(part, bounds, element) for part in shape)
    member = max(m for m, bound in enumerate(bounds[:-1]) if bound <= shape)
    return member, shape - bounds[member], element


@st.composite
def shards(draw):
    count = draw(st.integers(1, 24))
    cuts = draw(st.sets(st.integers(1, max(1, count - 1)), max_size=16)) if count > 1 else set()
    return (0, *sorted(cuts), count)


@given(shards(), st.integers(0, 200), st.integers(0, 1000))
def test_tree_is_fixed_by_the_shards(bounds, elements, seed):
    members = len(bounds) - 1
    plans = [tree(m, bounds, elements) for m in range(members)]
    wanted = [filled(split(0, bounds[-1]), bounds, e) for e in range(elements)]
    assert all(row == wanted for row in results(plans, seed))
    assert [plan.elements_sent for plan in plans] == [
        tree_sent(m, bounds, elements) for m in range(members)
    ]


@pytest.mark.parametrize("algorithm", [ring, direct, scattered])
@given(sizes())
def test_formulas_count_what_plans_send(algorithm, size):
    members, elements = size
    plans = [algorithm(m, members, elements) for m in range(members)]
    formula = SENT[algorithm]
    assert [p.elements_sent for p in plans] == [formula(m, *size) for m in range(members)]
    total = members * elements if algorithm is direct else 2 * elements
    assert sum(plan.elements_sent for plan in plans) == (members - 1) * total


@pytest.mark.parametrize("algorithm", [lambda m, p, n: ring(m, p, n, 3), scattered])
def test_plans_are_turned_from_member_to_member(algorithm):
    """What the prediction in lockstep relies on."""

    def shape(plan):
        return [
            (type(m), m.count, (m.peer - plan.member) % 5) if isinstance(m, Send | Receive)
            else (type(m), m.count if isinstance(m, Combine) else None)
            for m in plan.moves
        ]  # fmt: skip

    plans = [algorithm(m, 5, 35) for m in range(5)]
    assert all(shape(plan) == shape(plans[0]) for plan in plans)


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda: ring(3, 3, 10), "there is no member 3 among 3"),
        (lambda: ring(0, 3, 10, 0), "0 pieces"),
        (lambda: direct(0, 3, -1), "-1 elements"),
        (lambda: scattered(-1, 3, 1), "there is no member -1"),
        (lambda: tree(0, (0, 2, 2, 4), 1), "do not give every member shards"),
        (lambda: tree(0, (1, 2), 1), "do not give every member shards"),
        (lambda: ring(0, 0, 1), "0 members"),
    ],
)
def test_impossible_numbers_are_refused(make, text):
    with pytest.raises(ValueError, match=text):
        make()


class TestChecker:
    """The checker can fail."""

    def plans(self, *moves):
        both = (Send(0, 1, 0, 0, 1), Wait(0)), (Receive(0, 0, SCRATCH, 0, 1), Wait(0))
        chosen = [list(m) for m in both]
        for member, at, move in moves:
            chosen[member].insert(at, move)
        return [Plan("test", m, 2, 1, 1, 1, 1, tuple(chosen[m])) for m in range(2)]

    def test_a_sound_plan_passes(self):
        results(self.plans((1, 2, Combine(0, 0, SCRATCH, 0, 1))))

    @pytest.mark.parametrize(
        ("moves", "text"),
        [
            ([(1, 1, Combine(0, 0, SCRATCH, 0, 1))], "reads what is received"),
            ([(0, 1, Combine(0, 0, 0, 0, 1))], "writes what is sent"),
            ([(1, 0, Combine(0, 0, SCRATCH, 0, 1))], "never written"),
            ([(0, 2, Wait(0))], "what was not begun"),
            ([(1, 1, Receive(0, 0, 0, 0, 1))], "used twice"),
            ([(1, 1, Receive(1, 0, SCRATCH, 0, 1))], "what is under way"),
            ([(0, 0, Receive(1, 1, SCRATCH, 0, 1)), (0, 1, Wait(1))], "deadlock"),
        ],
    )
    def test_what_it_finds(self, moves, text):
        with pytest.raises(AssertionError, match=text):
            results(self.plans(*moves))
