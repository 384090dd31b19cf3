"""Segments and stripes: placement, sealing and coding, writing, reading, re-creating shards.

Owns the bytes of columns. Knows nothing of files, of the database or of who may write.
"""

from ecfs.stripes.access import Identity, StripeAccess, run_jobs
from ecfs.stripes.fleet import Fleet, Member, MemberState, Source
from ecfs.stripes.layout import Layout, UnitRun
from ecfs.stripes.pace import patience_ns
from ecfs.stripes.reader import Examination, Read, ShardFault, StripeLost
from ecfs.stripes.sealed import (
    SealedStripe,
    StripeOpener,
    StripeRef,
    binding_of,
    check_body,
    plan_stripe,
    rebuild_bodies,
    seal_stripe,
)
from ecfs.stripes.store import StripeStore, Written

__all__ = [
    "Examination", "Fleet", "Identity", "Layout", "Member", "MemberState", "Read",
    "SealedStripe", "ShardFault", "Source", "StripeAccess", "StripeLost", "StripeOpener",
    "StripeRef", "StripeStore", "UnitRun", "Written", "binding_of", "check_body", "patience_ns",
    "plan_stripe",
    "rebuild_bodies", "run_jobs", "seal_stripe",
]
