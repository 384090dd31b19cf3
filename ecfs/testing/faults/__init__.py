"""Fault enumeration: a pool with some of everything, every fault of every place, what must hold.

A case is one fault, or some at once, named by a line of text that repeats it. Pools live on disks
that share their bytes, so that a whole pool is copied in microseconds and each case has its own.
"""
