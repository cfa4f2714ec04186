"""Rewrites from loops to loops, run between a schedule and a printer; one file each."""
