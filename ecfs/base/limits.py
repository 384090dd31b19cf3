"""Every bound of the program, named once and asserted against each other at import."""

from ecfs.base.units import BLOCK_LEN, GIB, KIB, MIB

# Geometry.
DATA_SHARDS_MAX = 16
PARITY_SHARDS_MAX = 8
SHARDS_MAX = DATA_SHARDS_MAX + PARITY_SHARDS_MAX
TARGETS_MAX = 64
TARGET_PATH_LEN_MAX = 700
MEMBERS_MAX = 2 * PARITY_SHARDS_MAX + 2
DECODE_TABLES_COUNT_MAX = 256

# Stripes and segments.
UNIT_LEN_MAX = 64 * KIB
UNIT_LEN = 16 * KIB
"""Of a new pool: what has to be read and opened for a block at a random place. A disk gives 16 KiB
in little more time than 4; units of half of it would cost more in sealing than they spare."""
AEAD_TAG_LEN = 16
STRIPE_PAYLOAD_MAX = 2 * MIB
"""Of one extent, and of a stripe that holds database pages or moved extents."""
STRIPE_CONTENT_LEN_MAX = 4 * STRIPE_PAYLOAD_MAX
"""Of a stripe of freshly written extents: each stripe costs its share of hand-overs."""
STRIPE_DIRECTORY_MAX = 256 * KIB
EXTENTS_PER_STRIPE_MAX = 1024
COLUMN_LEN_MAX = 64 * MIB
COLUMN_HEADER_LEN = BLOCK_LEN

# Key derivation (Argon2id); memory in KiB.
KDF_MEMORY_DEFAULT_KIB = 64 * KIB
KDF_PASSES_DEFAULT = 3
KDF_LANES_DEFAULT = 4
KDF_MEMORY_FLOOR_KIB = 64 * KIB
KDF_PASSES_FLOOR = 1
KDF_MEMORY_CAP_KIB = 4 * GIB // KIB
KDF_PASSES_CAP = 16
KDF_LANES_CAP = 16
KDF_RUNS_PER_UNLOCK_MAX = 16
KEY_SECRET_LEN_MAX = 1 * MIB
PURPOSE_KEYS_COUNT_MAX = 64
SEGMENT_KEYS_COUNT_MAX = 4096

# Labels, claims, commits.
LABEL_LEN_MAX = 64 * KIB
KEY_SLOTS_MAX = 8
COMMIT_RECORD_LEN_MAX = 4 * MIB
COMMIT_PADDING_LENS = (4 * KIB, 8 * KIB, 16 * KIB, 64 * KIB, 256 * KIB, 1 * MIB, 4 * MIB)
COMMIT_PREALLOCATE_LEN = 1 * MIB
INLINE_FILE_LEN_MAX = 32 * KIB
INLINE_RECORD_LEN_MAX = 128 * KIB
LOGGED_LEN_MAX = 1 * MIB
LOGGED_COUNT_MAX = 256
"""Of pieces that commit records carry and that are no rows yet, when a round begins to write them
into stripes; so many again may come in meanwhile. Of one record too: each read looks at them."""
CHECKPOINT_DELTA_LEN_MAX = 64 * MIB
CHECKPOINT_OVERLAY_PAGES_MAX = 8192
LOG_LEN_DUE = 2 * CHECKPOINT_DELTA_LEN_MAX
LOG_LEN_MAX = 2 * LOG_LEN_DUE
LOG_EPOCHS_DUE = 16
LOG_EPOCHS_MAX = 96
"""Of records that the next mount has to read: from where on there is a checkpoint at once, and from
where on nothing more is acknowledged before there was one."""
LOG_READ_LEN_MAX = 512 * MIB
LOG_READ_EPOCHS_MAX = 1024
"""Of what is read of one target. It holds more than its writers let come together: a mount that is
killed leaves the room that it reserved, zeros that are read too."""
CHECKPOINT_INTERVAL_S = 300.0
COMMIT_INTERVAL_S = 5.0
TRANSACTION_PAGES_MAX = 2048
HISTORY_COMMITS_MAX = 1 << 20
ORDER_EPOCH_SHIFT = 40
EPOCH_MAX = (1 << 63 - ORDER_EPOCH_SHIFT) - 2
"""Of mounts that write. The order of writing begins at the epoch's number, shifted."""

# Time. Deadlines in seconds.
TARGET_DEADLINE_S = 10.0
TARGET_SYNC_DEADLINE_S = 30.0
READ_PATIENCE_S_MIN = 0.05
READ_PATIENCE_S_MAX = 1.0
READ_DEADLINE_S = 12.0
"""For all that one read asks of targets that are there, and once more for those that are away."""
TRIAL_PAUSE_S_MAX = 60.0
REJOIN_PAUSE_S_MAX = 3600.0
STRAGGLER_PATIENCE_S = 5.0
"""For a record that a quorum has: how long to wait for members that hung before."""
HEARTBEAT_INTERVAL_S = 5.0
TAKEOVER_QUIET_S = 30.0
TARGET_PROBE_INTERVAL_S = 5.0

# Memory.
WRITE_BACK_LEN_MAX = 128 * MIB
UNSYNCED_RAW_LEN_MAX = 32 * MIB
BLOCK_CACHE_LEN_MAX = 64 * MIB
PAGE_CACHE_LEN_MAX = 64 * MIB
MENDING_QUEUE_LEN_MAX = 10_000
LANE_QUEUE_LEN_MAX = 256
DIRECTORY_LISTING_MAX = 1_000_000
TARGET_LISTING_MAX = 100_000
EVENTS_KEPT_MAX = 10_000
DAMAGED_PATHS_MAX = 10_000
ATTRIBUTE_CACHE_COUNT_MAX = 32 * KIB
REQUESTS_AT_ONCE_MAX = 32
REQUEST_LEN_MAX = 1 * MIB
REQUESTS_BETWEEN_YIELDS_MAX = 16

# Observing: log and audit lines, and the targets that are counted one by one.
LOG_LINES_PER_KIND_MAX = 20
LOG_WINDOW_S = 60.0
AUDIT_TEXT_LEN_MAX = 512
AUDIT_LINE_LEN_MAX = 32 * KIB
AUDIT_FILE_LEN_MAX = 8 * MIB
AUDIT_FILES_KEPT = 7
AUDIT_LINES_SHOWN_MAX = 10_000
TARGETS_COUNTED_MAX = 4 * TARGETS_MAX

# Files of a target.
TARGET_FILES_OPEN_MAX = 96
DESCRIPTORS_WANTED = 8192
FILE_LEN_WANTED = 1 << 40
TARGET_FILES_SUSPECT_MAX = 1024
TARGET_READ_LEN_MAX = 2 * COLUMN_LEN_MAX
TARGET_FOLDERS_DEEP_MAX = 3

# Files.
NAME_LEN_MAX = 255
SYMLINK_LEN_MAX = 4095
XATTR_VALUE_LEN_MAX = 64 * KIB
XATTR_LIST_LEN_MAX = 64 * KIB
LINKS_MAX = 65_000
PATH_DEPTH_MAX = 4096
FILE_LEN_MAX = (1 << 63) - 1

# Space that only deleting and commits may use, per target.
RESERVE_LEN_MIN = 16 * MIB

assert UNIT_LEN_MAX % UNIT_LEN == UNIT_LEN % BLOCK_LEN == 0
assert TARGETS_MAX * TARGET_FILES_OPEN_MAX < DESCRIPTORS_WANTED
assert COMMIT_PADDING_LENS[-1] == COMMIT_RECORD_LEN_MAX
assert COMMIT_PADDING_LENS[0] == BLOCK_LEN
assert KDF_MEMORY_FLOOR_KIB <= KDF_MEMORY_DEFAULT_KIB <= KDF_MEMORY_CAP_KIB
assert KDF_PASSES_FLOOR <= KDF_PASSES_DEFAULT <= KDF_PASSES_CAP
assert STRIPE_CONTENT_LEN_MAX + STRIPE_DIRECTORY_MAX < COLUMN_LEN_MAX
assert UNSYNCED_RAW_LEN_MAX < WRITE_BACK_LEN_MAX
assert INLINE_RECORD_LEN_MAX < COMMIT_RECORD_LEN_MAX
assert LOG_LEN_MAX + COMMIT_RECORD_LEN_MAX + 2 * LOG_EPOCHS_MAX * COMMIT_PREALLOCATE_LEN < (
    LOG_READ_LEN_MAX)
assert 2 * LOG_EPOCHS_MAX < LOG_READ_EPOCHS_MAX
assert KEY_SLOTS_MAX <= KDF_RUNS_PER_UNLOCK_MAX
assert COMMIT_INTERVAL_S <= HEARTBEAT_INTERVAL_S < TAKEOVER_QUIET_S
assert TARGET_DEADLINE_S < TARGET_SYNC_DEADLINE_S <= TAKEOVER_QUIET_S
assert READ_PATIENCE_S_MAX < TARGET_DEADLINE_S < READ_DEADLINE_S
# A page that SQLite waits for blocks the loop, and so the heartbeats.
assert 2 * READ_DEADLINE_S + HEARTBEAT_INTERVAL_S < TAKEOVER_QUIET_S
assert AUDIT_LINE_LEN_MAX > 3 * 12 * AUDIT_TEXT_LEN_MAX + KIB
INODES_SHOWN_MAX = 1 << 32
