"""The transcendental functions, made of primitive operations that every target has.

Each builder takes terms and returns a term: straight-line, without branches, tables or calls, the
same for any number of lanes and for the CPU as for a GPU. ``rewrites.expand_math`` puts them in the
place of the scalar ops of the same names. Coefficients are minimax (Remez), fitted in 200 bits and
rounded one after the other, the rest being fitted anew each time.
"""

from __future__ import annotations

from collections.abc import Callable

from graphc.backends.loops.math.accuracy import ULP, Bound
from graphc.backends.loops.math.error_function import erf
from graphc.backends.loops.math.exponential import exp, expm1
from graphc.backends.loops.math.hyperbolic import sigmoid, tanh
from graphc.backends.loops.math.logarithm import log, log1p
from graphc.backends.loops.math.power import power
from graphc.backends.loops.math.term import Term
from graphc.backends.loops.math.trigonometric import cos, cospi, sin, sinpi
from graphc.ir.dtypes import DType, float32, float64

__all__ = ["MATH", "ULP", "Bound", "Builder", "Term"]

Builder = Callable[..., Term]

FUNCTIONS: dict[str, Builder] = {
    "exp": exp,
    "expm1": expm1,
    "log": log,
    "log1p": log1p,
    "tanh": tanh,
    "sigmoid": sigmoid,
    "erf": erf,
    "pow": power,
    "sin": sin,
    "cos": cos,
    "sinpi": sinpi,
    "cospi": cospi,
}

MATH: dict[tuple[str, DType], Builder] = {
    (name, dtype): builder for name, builder in FUNCTIONS.items() for dtype in (float32, float64)
}
"""For each scalar op and dtype, the function that writes it in primitive operations."""
