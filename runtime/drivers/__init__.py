"""Drivers: what carries out the effects of roles, in processes under MPI or in virtual time."""
