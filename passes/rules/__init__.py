"""The rules of ``simplify``: for each op, rewrites that do not change a single bit.

IEEE 754 decides: NaN, infinities and the sign of zeros come out as before. Each rule says why it
is safe where that is not plain.
"""
