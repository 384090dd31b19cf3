"""ecfs: an encrypted, erasure-coded file system over directories that need not be trusted."""

__version__ = "0.1.0"
