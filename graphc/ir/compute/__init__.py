"""What a kernel computes, free of any target: index maps, scalar expressions, reductions.

Ops describe themselves with it and fusion composes it; a backend's schedules rewrite it into
``graphc.backends.loops``, which says how.
"""
