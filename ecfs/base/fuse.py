"""What FUSE is called on every Linux machine."""

DEVICE = "/dev/fuse"
HELPER = "fusermount3"
"""Mounts and unmounts for ordinary users."""
