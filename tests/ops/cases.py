"""Operands and attributes for every op: what tests that walk the registry run.

An op without a case fails `test_registry.py`.
"""

import numpy as np

import tests.ops.cases_array
import tests.ops.cases_pointwise
import tests.ops.cases_reduction  # noqa: F401
from tests.ops.case import CASES, Case

__all__ = ["CASES", "Case", "all_cases"]

LARGE = 2000
"""Elements of an operand that an interpreter of loops would spend seconds on."""


def all_cases(seed: int = 0, large: bool = False) -> list[Case]:
    """Every case of every op that has some, the same for the same seed; or those for native code,
    which are `large` as well."""
    return [
        case
        for number, (op, make) in enumerate(CASES.items())
        for case in make(op, np.random.default_rng([seed, number]))
        if large or all(x.size < LARGE for x in case.inputs)
    ]
