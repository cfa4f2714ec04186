"""The checker of plans against what happens in the simulator, where sends are synchronous."""

import random
from collections import Counter

import pytest

from graphc.ir.errors import PlanError
from graphc.runtime.checker import check
from graphc.runtime.order import packed, unpacked
from tests.runtime.happening import happens
from tests.runtime.orders import changed, random_draft

CHANGES = 40


def verdict(draft):
    try:
        check(draft.orders(), agree=draft.agree)
    except PlanError as error:
        return "stuck" if "wait in a circle" in str(error) else "wrong"
    return "ends"


@pytest.mark.random_cases(quick=25, soak=700)
def test_the_checker_says_what_happens(case_seed):
    rng = random.Random(case_seed)
    draft = random_draft(rng)
    assert happens(draft, case_seed) == verdict(draft) == "ends"
    for number in range(CHANGES):
        mutated = changed(rng, draft)
        found = happens(mutated, rng.randrange(1000))
        assert verdict(mutated) == found.partition(":")[0], f"change {number}: {found}"


def test_changes_are_of_every_kind():
    rng = random.Random(0)
    drafts = [random_draft(rng) for _ in range(30)]
    found = Counter(verdict(changed(rng, draft)) for draft in drafts for _ in range(10))
    assert min(found[kind] for kind in ("ends", "stuck", "wrong")) > 25, found


@pytest.mark.random_cases(quick=20, soak=500)
def test_orders_travel(case_seed):
    for strands in random_draft(random.Random(case_seed)).strands:
        assert unpacked(packed(strands)) == strands
