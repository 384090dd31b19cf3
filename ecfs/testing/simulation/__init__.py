"""The whole stack below the mount in one `trio.run`, in a world that a seed decides.

Clock, entropy, lanes and targets are simulated; what a client keeps (its state directory) is real,
on a RAM disk. A seed and a commit replay a run exactly, in any process that fixes PYTHONHASHSEED.
"""
