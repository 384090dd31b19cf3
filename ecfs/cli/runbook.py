"""What each event and each error id means, and what to do: the one table behind the manual.

`docs/operations.md` and ecfs-events(7) are made from it by `ecfs.testing.manual`; tests hold that
nothing is missing from it. Words in backquotes are typed as they are.
"""

from dataclasses import dataclass

from ecfs.observe import EventKind


@dataclass(frozen=True, slots=True)
class Entry:
    """A page of the runbook: what it means, in a sentence or two, and what to do."""

    means: str
    do: str


NOTHING = "Nothing; it is told for the record."

EVENTS = {
    EventKind.SHARD_BAD: Entry(
        "A shard is not what was written there: it rotted, was changed, is of an older time or of "
        "another place. The event names target, segment and offset. What was read came from "
        "other shards and is right.",
        "It is mended by itself. If one target has many of these, look at its disk (`smartctl "
        "-a`), run `ecfs scrub POOL`, and replace the target if they come back."),
    EventKind.SHARD_MISSING: Entry(
        "A target acknowledged a shard once and has nothing in its place now. The read was served "
        "by others.",
        "As for shard-bad. If files were removed on the target by hand, scrub; if the disk loses "
        "writes, replace it."),
    EventKind.SHARD_MENDED: Entry(
        "A shard was computed anew from others, written, and read back.", NOTHING),
    EventKind.STRIPE_UNREADABLE: Entry(
        "More shards of a stripe are bad or missing than parity can replace. Reads of the files "
        "that it holds give EIO; no wrong byte is returned.",
        "Bring back targets that are away, then `ecfs scrub POOL`. `ecfs status POOL` lists the "
        "damaged files; restore those from a backup."),
    EventKind.HEADER_BAD: Entry(
        "The head or the length of a column file on a target is not what it should be.",
        "It is mended by itself; as for shard-bad when it comes back."),
    EventKind.LABEL_BAD: Entry(
        "A label was rotten and could be corrected, or is not authentic under this key. One that "
        "is not authentic is left out.",
        "A rotten label is written anew, as long as one label of its target can be read: without "
        "any nothing tells which target it is. Then put a copy of a label back, or move away what "
        "is in its directory and `ecfs target replace POOL NAME PATH` with that path. If one is "
        "not authentic and nobody made a pool there, somebody changed it: look at who can write to "
        "that target."),
    EventKind.RECORD_BAD: Entry(
        "A commit record on one target is torn, rotten or out of place. The others have it, or it "
        "was never acknowledged.",
        "It is put right at the next mount. After a crash this is expected; at other times look "
        "at the disk."),
    EventKind.RECORD_TORN: Entry(
        "A commit record on a target is not whole, and nothing says that the target had "
        "acknowledged it: a crash in the middle of a commit leaves this. It is put right.",
        "Nothing after a crash. If it comes without one, look at the disk."),
    EventKind.CLAIM_BAD: Entry(
        "A file under the name of a claim is no claim of this pool. It stops nobody.",
        "If it comes back on one target, look at its disk and at who can write there."),
    EventKind.TARGET_AWAY: Entry(
        "A target failed, or did not answer in time, and is left out until it answers again. What "
        "it misses counts against the m targets that may be gone. A network share that hangs holds "
        "up the first write for about half a minute, a mount for some ten seconds; after that "
        "nobody waits for it.",
        "Look at the disk, its cable and mount, and at free memory. It is tried again every few "
        "seconds; if it is lost, `ecfs target replace POOL OLD NEW`."),
    EventKind.TARGET_BACK: Entry(
        "A target that was away answers again, and catches up on what it missed.", NOTHING),
    EventKind.TARGET_FOREIGN: Entry(
        "A directory that was given holds a target of another pool, or is a link to another "
        "target. It is left out.",
        "Check the paths; is the right disk mounted there?"),
    EventKind.TARGET_CLONE: Entry(
        "Two directories have the same target: one is a copy. Both are left out, because nobody "
        "can tell which is current.",
        "Take the copy away, or give only one of the two by its path; then mount again."),
    EventKind.TARGET_STALE: Entry(
        "A target was away while others were written, or was put back to an older state. It is "
        "compared in full and brought up to date.",
        "Nothing, if it had been away. If nobody had taken it out, its disk lost writes or was "
        "rolled back: look into that."),
    EventKind.TARGET_SLOW: Entry(
        "A target did not answer in time; another source served the read, or the write counts as "
        "missed there.",
        "Look for a failing disk or a busy one. If it goes on, replace it: it slows every fsync."),
    EventKind.TARGET_UNSAFE_FILE: Entry(
        "In the place of a file of ours a target has something else: a link, a FIFO, a device, a "
        "file with several names. It was not followed.",
        "Somebody or something put it there. Find out who can write to the target; then scrub."),
    EventKind.CLAIMED: Entry(
        "This machine claimed the pool: from now on it is the one that writes.", NOTHING),
    EventKind.FENCED: Entry(
        "Another machine claimed the pool while this one had it mounted. This mount is read-only "
        "from now on; nothing that was acknowledged is lost, what was not is.",
        "Unmount here. If both are meant to use the pool, mount it on one of them at a time."),
    EventKind.ROLLBACK_REFUSED: Entry(
        "The pool is older than what this machine has acknowledged: all its targets were put back, "
        "or those with the rest are not here. It was not mounted. Where just the key slots in the "
        "labels are older than the pool knows, it is mounted read-only.",
        "Bring back the targets with the newest state. If a backup was put back on purpose, mount "
        "with `-o accept_rollback`, or `ecfs fsck --accept-rollback`. If nobody did, the storage "
        "shows you the past: do not accept."),
    EventKind.ROLLBACK_ACCEPTED: Entry(
        "Somebody mounted or checked an older or forked state of the pool on purpose. Expected and "
        "got have the commits that were given up and taken.",
        "Make sure that you know who did it and why."),
    EventKind.FORK_REFUSED: Entry(
        "The pool's history does not contain a commit that this machine has acknowledged: there "
        "are two histories, as when halves of a pool or copies of it were written apart.",
        "Find the targets with your history and mount those. Histories are never merged: to go on "
        "with the other one, copy what you need out of yours first, then `-o accept_rollback`."),
    EventKind.READ_FAILED: Entry(
        "A target answered a read with an error. Others served it.",
        "As for target-away: look at the disk."),
    EventKind.WRITE_FAILED: Entry(
        "A write or a sync failed on a target. It is away until it can be written to again; after "
        "a failed sync nothing of that file is trusted.",
        "As for target-away: look at the disk."),
    EventKind.READ_ONLY: Entry(
        "Too few targets take writes; the mount is read-only until enough are back. What is not "
        "written stays in memory.",
        "`ecfs status POOL` says what it waits for. Bring targets back; do not unmount if you can "
        "help it, or what was not acknowledged is lost."),
    EventKind.CHANGE_LOST: Entry(
        "What a program had just been told is done (a file made, renamed, removed, its attributes "
        "set) could not be entered: a page of the metadata that it needs could not be read. The "
        "mount is read-only from then on, so that nothing builds on it, and every fsync fails; "
        "all that came before is safe.",
        "Bring back targets that are away, unmount, `ecfs fsck POOL`, mount again, and look at "
        "what the program that was running then has done."),
    EventKind.RESILVERED: Entry("A target has caught up on everything that it missed.", NOTHING),
    EventKind.REBUILT: Entry(
        "A new target has taken the place of a lost one.",
        "Keep the old disk until a scrub of the pool is clean, then wipe it."),
    EventKind.REPAIRED: Entry(
        "fsck or the start of a mount put something right; the message names the finding.",
        "Nothing, unless it comes back: then look for the disk that causes it."),
    EventKind.TAIL_DROPPED: Entry(
        "`ecfs fsck -y` gave up commits after one that is on no target that is here. Those had "
        "perhaps been acknowledged.",
        "Compare what was written last with its source. If the missing targets turn up, do not "
        "mix them in: they have another history."),
    EventKind.METADATA_DAMAGED: Entry(
        "The metadata of the pool cannot be read: more of its shards are gone than its parity can "
        "replace.",
        "Bring back targets before anything else. If they are lost for good, `ecfs salvage POOL "
        "DIR` gets files out of the log."),
    EventKind.COLUMN_ABANDONED: Entry(
        "A sync of a column file failed, or its name was taken: a new one was begun.",
        "After a failed sync look at the disk; a name that is taken means that somebody else "
        "writes to the target."),
    EventKind.COLUMN_CUT: Entry(
        "A column file went on past the end of its segment and was cut there: stripes that a crash "
        "left, which no commit names.", NOTHING),
    EventKind.CHECKPOINT: Entry("The whole state was written; older records may go.", NOTHING),
    EventKind.MOUNTED: Entry("The pool was opened; the message says how.", NOTHING),
    EventKind.UNMOUNTED: Entry("The pool was closed, everything durable.", NOTHING),
    EventKind.REFUSED: Entry(
        "The pool was not opened; the message ends with the id of the refusal.",
        "See that id below. Many refused passphrases that nobody typed: somebody tries to get in."),
    EventKind.FORCED: Entry(
        "`ecfs mkfs --force` was told to make a pool where one was already.",
        "Make sure that you know who did it and why."),
    EventKind.AUDIT_MISSING: Entry(
        "The newest commit of the pool names a line of this machine's audit log that is not there: "
        "the log was cut, rewritten, or put back from an older copy.",
        "After a machine was put back to a snapshot this is expected, once. Else somebody took "
        "evidence away on this machine: look at who has access to the state directory."),
    EventKind.AUDIT_UNWRITTEN: Entry(
        "The audit log of this machine takes no lines: its disk is full or read-only, or its "
        "permissions are wrong. What happens to the pool meanwhile stands only in the log.",
        "Make room in the state directory, or mend its disk or permissions. Who only reads (`mount "
        "-o ro`, `fsck -n`, `status`, `salvage`) can go on without."),
}

REFUSALS = {
    "E-FAILED": Entry("The command failed; the message says why.", "Follow the message."),
    "E-BUG": Entry("ecfs met a state that its own code should have made impossible.",
                   "Report it with `ecfs --version`, `ecfs status --json POOL` and the log."),
    "E-DAMAGE": Entry("Bytes on a target are not what was written there, and nothing replaces "
                      "them.", "Bring back targets; `ecfs scrub POOL`, then `ecfs fsck POOL`."),
    "E-UNREADABLE": Entry("More shards are bad or missing than parity can replace.",
                          "As for the event stripe-unreadable or metadata-damaged."),
    "E-FS": Entry("An ordinary error of a file system call.", "Follow the message."),
    "E-TARGET": Entry("A target did not do what it was asked.", "As for the event target-away."),
    "E-USAGE": Entry("The command line does not make sense.", "See the manual page of the verb."),
    "E-PASSPHRASE": Entry("No key slot opens with the passphrase, key file or recovery key.",
                          "Check spelling, keyboard layout and trailing newlines; try the recovery "
                          "key with `--recovery`. Without a key nobody can open a pool."),
    "E-NOT-A-POOL": Entry("There is no label of a pool where one was expected, or none that may be "
                          "read: the message has the reason for each place.",
                          "Is the disk mounted? An empty mount point looks like an empty target. "
                          "Where permission was denied: are you who made the pool?"),
    "E-TOO-FEW-REACHABLE": Entry("Too few targets are there to know or to read the newest state, "
                                 "or to do without the one that is to be replaced.",
                                 "Bring back, or replace, the targets that the message names. If "
                                 "so many are lost for good, copy into a new pool what a mount "
                                 "still shows; where nothing can be mounted, `ecfs salvage POOL "
                                 "DIR` gets out what the others hold."),
    "E-FOREIGN": Entry("Only targets of another pool are there, or a known path holds another pool "
                       "than before.",
                       "Check the paths. If you replaced the pool yourself, remove the entries "
                       "from `targets.json` in the state directory; if not, do not type your "
                       "passphrase there."),
    "E-CLONES": Entry("Only copies of one target are there.", "Give each target once."),
    "E-FORMAT": Entry("A version, feature or parameter is unknown, weakened, or below what this "
                      "machine has seen of the pool.",
                      "Use a newer ecfs. If nothing was upgraded, somebody changed the label: take "
                      "the targets out of their reach."),
    "E-IN-USE": Entry("Another process or machine has the pool; it is named.",
                      "Use that mount, or unmount it. A machine that died is taken over after half "
                      "a minute of silence."),
    "E-MOUNTPOINT": Entry("The mount point is not an empty directory.", "Choose another."),
    "E-POOL-EXISTS": Entry("mkfs found a pool there. What a killed mkfs has begun is none.",
                           "`--force` destroys it, for ever."),
    "E-TOO-FEW-TARGETS": Entry("The geometry needs more targets than were given.",
                               "Give k + m targets at least, or a smaller k or m."),
    "E-SAME-TARGET": Entry("One directory was given twice.", "Give each target once."),
    "E-TARGET-INSIDE": Entry("A target lies inside the mount point, or the other way round.",
                             "Keep them apart."),
    "E-ROLLED-BACK": Entry("The pool is older than what this machine has acknowledged.",
                           "As for the event rollback-refused."),
    "E-FORKED": Entry("The pool's history is not the one that this machine has acknowledged.",
                      "As for the event fork-refused."),
    "E-FENCED": Entry("Another machine claimed the pool; system calls that write give EROFS.",
                      "As for the event fenced."),
    "E-READ-ONLY": Entry("The volume takes no writes now; the message says why.",
                         "As for the event read-only."),
    "E-APPEND": Entry("Too few targets take new stripes.", "Bring targets back or free some room."),
    "E-NO-SPACE": Entry("Nothing more can be placed without the reserve.",
                        "Delete something, or add room to the targets that `ecfs status` names."),
    "E-ANCHOR": Entry("What this machine remembers of the pool, or of which pool is at which path "
                      "(`targets.json`), cannot be read, is damaged, or is of another pool.",
                      "Put the file back from a backup of the state directory. Without it nobody "
                      "can tell whether the pool was rolled back, or is another one: remove it "
                      "only if you are sure that it was not."),
    "E-ANCHOR-WRITE": Entry("The anchor, this machine's memory of the newest commit, could not be "
                            "written. What is in the pool is safe; an older state of it would be "
                            "taken for the newest until the anchor is written.",
                            "Make room in the state directory or mend its permissions, then mount "
                            "and unmount the pool: that writes the anchor."),
    "E-LOG": Entry("The file that the log is to go to cannot be written; nothing was done.",
                   "Make its directory, or give another `--log-file`; without one the log goes to "
                   "the system's journal."),
    "E-KEY-FILE": Entry("The file with the passphrase or key cannot be read.",
                        "Check its path, its permissions, and that the medium it is on is mounted; "
                        "at a mount from fstab(5), `passfile=` or `keyfile=` there."),
    "E-MOUNT": Entry("The operating system does not mount it; the message has its reason.",
                     "Check that the user may open /dev/fuse; `allow_other` needs "
                     "`user_allow_other` in /etc/fuse.conf; in a container, that it may mount. "
                     "`ecfs --version` says what this machine offers."),
    "E-AUDIT": Entry("The audit log cannot be read or written.",
                     "Look at room and permissions of the state directory; or set XDG_STATE_HOME "
                     "to a copy of it that can be written: a copy, for the anchors are in it. What "
                     "only reads (`mount -o ro`, `fsck -n`, `status`, `salvage`) goes on without, "
                     "and so does a pool that is mounted already; its commits name the newest line "
                     "that is durable."),
    "E-OS": Entry("The operating system refused something; the message has its words.",
                  "Follow the message."),
    "E-OUTPUT": Entry("Standard output could not be written, as where its disk is full; or whoever "
                      "read it went away, which is not told.",
                      "Make room, or let the output go elsewhere. What the command does besides "
                      "telling may be done: look before you run it again."),
    "E-INTERRUPTED": Entry("The command was interrupted.", "Run it again if it is still wanted."),
}
