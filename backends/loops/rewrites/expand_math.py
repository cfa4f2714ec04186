"""Replaces transcendental functions by primitive operations (see ``backends.loops.math``)."""

from __future__ import annotations

from dataclasses import replace

from graphc.backends.loops.ir import Expr, Function, Op
from graphc.backends.loops.math import MATH, Term
from graphc.backends.loops.walk import map_expressions


def expand_math(function: Function, *, fused: bool) -> Function:
    """``function`` without the ops of ``MATH``; ``fused``: the target's fma rounds once.

    A value that an expansion uses twice is one expression, shared; printers compute it once.
    """

    def expand(expr: Expr) -> Expr:
        if not isinstance(expr, Op):
            return expr
        builder = MATH.get((expr.op, expr.type.dtype))
        return builder(*(Term(a, fused) for a in expr.args)).expr if builder else expr

    return replace(function, body=map_expressions(function.body, expand))
