"""The reference backend: NumPy, slow and right, the oracle of every test."""

from graphc.backends.reference.interpreter import run

__all__ = ["run"]
