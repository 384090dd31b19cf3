"""Crash enumeration: short workloads, every point at which the power can go, what may survive it.

A workload runs once on a pool in memory; every change and every sync of every target goes into one
log. What a crash leaves is worked out from the log alone: at each point, independently on each
target, any part of what was not synced. Each state is mounted and judged by the oracle.
"""
