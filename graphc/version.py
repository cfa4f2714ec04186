"""The version of graphc: the one place that states it; the packaging metadata reads it here."""

__version__ = "0.1.0"
