"""Rewrites from what a kernel computes (``ir/compute``) to how a CPU computes it (loops)."""
