"""Rewrites from what a kernel computes (``ir.compute``) to how a GPU computes it (loops)."""
