"""All rows of the table, and all stores."""

from scripts import (
    bench_rows_large,
    bench_rows_names,
    bench_rows_programs,
    bench_rows_space,
    bench_rows_stream,
)
from scripts.bench_goals import at_most
from scripts.bench_null import NullPyfuse3, NullRaw
from scripts.bench_peers import Cryfs, Gocryptfs, Securefs
from scripts.bench_row import Group, Row
from scripts.bench_stores import Ecfs, EcfsPyfuse3, Plain, Store

STORES: tuple[type[Store], ...] = (
    Ecfs, EcfsPyfuse3, Gocryptfs, Securefs, Cryfs, Plain, NullPyfuse3, NullRaw
)  # fmt: skip
QUICK_STORES = ("ecfs", "gocryptfs", "securefs", "plain")

GROUPS: tuple[Group, ...] = (
    *bench_rows_stream.GROUPS,
    *bench_rows_names.GROUPS,
    *bench_rows_programs.GROUPS,
    *bench_rows_space.GROUPS,
    *bench_rows_large.GROUPS,
)
ROWS: tuple[Row, ...] = tuple(row for group in GROUPS for row in group.rows)
MEMORY_GOAL = at_most(400)
