"""What requests do: lookup counts, orphans, errors, pending attributes."""

import errno
import os
import stat
from collections.abc import Awaitable, Sequence

import pytest
import trio
from trio.testing import MockClock

from ecfs.base.errors import Damage, EcfsError, FsError
from ecfs.base.ids import ROOT_INODE, InodeId
from ecfs.driver import Requests, sweep_orphans
from ecfs.driver.attributes import Change
from ecfs.driver.orphans import drop_orphans
from ecfs.namespace import RENAME_EXCHANGE
from ecfs.testing.memory_volume import MemoryVolume

DIRECTORY = stat.S_IFDIR | 0o755


async def new_file(requests: Requests, name: bytes, *, mode: int = 0o644,
                   uid: int = 0) -> InodeId:
    """A created file, which is known once."""
    created = await requests.create_file(ROOT_INODE, name, mode=mode, uid=uid, gid=0)
    return created.attributes.inode


async def write(requests: Requests, inode: InodeId, offset: int, data: bytes, *,
                kill_privileges: bool = False) -> None:
    """Write all of `data`."""
    assert await requests.write(inode, offset, data,
                                kill_privileges=kill_privileges) == len(data)


async def refused(number: int, action: Awaitable[object]) -> None:
    with pytest.raises(EcfsError) as caught:
        await action
    assert caught.value.errno == number


async def test_a_missing_name_is_none(requests: Requests) -> None:
    assert requests.lookup(ROOT_INODE, b"none") is None
    with pytest.raises(FsError):
        requests.lookup(ROOT_INODE, b"x" * 256)


async def test_pending_content_shows_in_attributes(requests: Requests,
                                                   volume: MemoryVolume) -> None:
    inode = await new_file(requests, b"f")
    await write(requests, inode, 10, b"x" * 5000)
    assert volume.tree.attributes(inode).size == 0
    found = requests.stat(inode)
    assert found.attributes.size == 5010
    assert found.attributes.mtime_ns == found.attributes.ctime_ns
    assert found.blocks == 10
    assert not found.settled
    await requests.fsync(inode)
    after = requests.stat(inode)
    assert after.attributes == found.attributes
    assert after.settled


async def test_set_times_outlive_pending_ones(requests: Requests, volume: MemoryVolume) -> None:
    inode = await new_file(requests, b"f")
    await write(requests, inode, 0, b"x")
    await requests.change(inode, Change(mtime_ns=7, atime_ns=8))
    assert requests.stat(inode).attributes.mtime_ns == 7
    await requests.fsync(inode)
    assert volume.tree.attributes(inode).mtime_ns == 7
    assert volume.tree.attributes(inode).size == 1


async def test_an_unlinked_file_lives_until_it_is_forgotten(
        requests: Requests, volume: MemoryVolume) -> None:
    """The kernel does so once nobody has it open, or mapped."""
    inode = await new_file(requests, b"f")
    await write(requests, inode, 0, b"content")
    requests.lookup(ROOT_INODE, b"f")
    await requests.unlink(ROOT_INODE, b"f")
    assert requests.lookup(inode, b".") is None, "a FORGET may be overtaken"
    requests.forget(inode, 1)
    await requests.tidy()
    assert volume.tree.orphans(9) == [inode]
    assert await requests.read(inode, 0, 99) == b"content"
    await write(requests, inode, 7, b" and more")
    requests.forget(inode, 1)
    await requests.tidy()
    assert volume.tree.orphans(9) == []
    assert not volume.files.knows(inode)
    with pytest.raises(FsError):
        requests.stat(inode)
    await refused(errno.ENOENT, requests.read(inode, 0, 99))
    await refused(errno.ENOENT, write(requests, inode, 0, b"x"))
    assert not volume.files.knows(inode)


async def forgotten_files(requests: Requests, count: int) -> list[InodeId]:
    """Files with content that were unlinked, and then forgotten by the kernel."""
    inodes = []
    for number in range(count):
        inodes.append(await new_file(requests, b"%d" % number))
        await write(requests, inodes[-1], 0, b"content")
        await requests.unlink(ROOT_INODE, b"%d" % number)
    for inode in inodes:
        requests.forget(inode, 1)
    return inodes


async def test_many_that_were_forgotten_go_at_once(requests: Requests, volume: MemoryVolume,
                                                   monkeypatch: pytest.MonkeyPatch) -> None:
    inodes = await forgotten_files(requests, 150)
    counts: list[int] = []
    discard = volume.files.discard

    def noting(some: Sequence[InodeId]) -> None:
        counts.append(len(some))
        discard(some)

    monkeypatch.setattr(volume.files, "discard", noting)
    assert requests.lookup(inodes[70], b".") is None, "it is as good as gone"
    # More than there were, which no kernel does.
    requests.forget(inodes[70], 1)
    await requests.tidy()
    assert counts == [64, 64, 22]
    assert volume.tree.orphans(200) == []
    assert not any(volume.files.knows(inode) for inode in inodes)
    assert volume.tree.count() == 1


async def test_one_that_cannot_go_holds_up_no_other(requests: Requests, volume: MemoryVolume,
                                                    monkeypatch: pytest.MonkeyPatch) -> None:
    inodes = await forgotten_files(requests, 10)
    discard = volume.files.discard

    def failing(some: Sequence[InodeId]) -> None:
        if inodes[3] in some:
            raise Damage("a page of the metadata is lost")
        discard(some)

    monkeypatch.setattr(volume.files, "discard", failing)
    await requests.tidy()
    assert volume.tree.orphans(99) == [inodes[3]]
    monkeypatch.undo()
    await requests.tidy()
    assert volume.tree.orphans(99) == [inodes[3]], "until the next mount"
    assert await sweep_orphans(volume) == 1


async def test_what_was_forgotten_goes_by_itself(requests: Requests, volume: MemoryVolume,
                                                 autojump_clock: MockClock,
                                                 monkeypatch: pytest.MonkeyPatch,
                                                 caplog: pytest.LogCaptureFixture) -> None:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(requests.keep_tidy)
        await forgotten_files(requests, 3)
        await trio.sleep(1)
        assert volume.tree.orphans(9) == []
        with monkeypatch.context() as patch:
            patch.setattr(volume.tree, "drop_orphans", lambda inodes: 1 // 0)
            lost = await forgotten_files(requests, 1)
            await trio.sleep(1)
        assert "ZeroDivisionError" in caplog.text
        await forgotten_files(requests, 1)
        await trio.sleep(1)
        assert volume.tree.orphans(9) == lost
        nursery.cancel_scope.cancel()


async def test_a_name_left_keeps_the_inode(requests: Requests, volume: MemoryVolume) -> None:
    inode = await new_file(requests, b"f")
    await requests.link(inode, ROOT_INODE, b"g")
    await requests.unlink(ROOT_INODE, b"f")
    requests.forget(inode, 2)
    found = requests.lookup(ROOT_INODE, b"g")
    assert found is not None
    assert found.attributes.nlink == 1


async def test_a_replaced_file_and_a_removed_directory_go(requests: Requests,
                                                          volume: MemoryVolume) -> None:
    victim = await new_file(requests, b"old")
    requests.forget(victim, 1)
    source = await new_file(requests, b"new")
    await write(requests, source, 0, b"x")
    await requests.rename(ROOT_INODE, b"new", ROOT_INODE, b"old", 0)
    assert volume.tree.orphans(9) == []
    assert volume.files.flush_count == 1, "a replacing file is flushed before it replaces"
    assert volume.tree.attributes(source).size == 1
    made = await requests.create(ROOT_INODE, b"d", mode=DIRECTORY, uid=0, gid=0)
    dh = requests.directories.open(made.attributes.inode)
    await requests.rmdir(ROOT_INODE, b"d")
    assert volume.tree.orphans(9) == [made.attributes.inode]
    requests.directories.close(dh)
    requests.forget(made.attributes.inode, 1)
    await requests.tidy()
    assert volume.tree.orphans(9) == []


async def test_the_end_of_a_mount_drops_orphans(requests: Requests, volume: MemoryVolume) -> None:
    inode = await new_file(requests, b"f")
    await requests.unlink(ROOT_INODE, b"f")
    await requests.finish()
    assert volume.tree.orphans(9) == []
    assert not volume.files.knows(inode)


async def test_orphans_of_a_crash_are_swept(volume: MemoryVolume) -> None:
    for number in range(600):
        name = b"%d" % number
        volume.tree.create(ROOT_INODE, name, mode=0o600, uid=0, gid=0)
        volume.tree.unlink(ROOT_INODE, name)
    volume.read_only = True
    assert await sweep_orphans(volume) == 0
    volume.read_only = False
    assert await sweep_orphans(volume) == 600
    assert volume.tree.orphans(9) == []
    assert volume.tree.count() == 1


async def test_a_file_with_a_name_is_no_orphan_and_keeps_its_bytes(
        requests: Requests, volume: MemoryVolume) -> None:
    """It may have been unlinked in vain (event change-lost)."""
    inode = await new_file(requests, b"f")
    await requests.write(inode, 0, b"bytes", kill_privileges=False)
    assert drop_orphans(volume, [inode]) == 0
    assert bytes(await requests.read(inode, 0, 9)) == b"bytes"


async def test_only_regular_files_have_bytes(requests: Requests, volume: MemoryVolume) -> None:
    """The kernel would not ask; nothing must come of it if it did."""
    made = await requests.create(ROOT_INODE, b"p", mode=stat.S_IFIFO | 0o600, uid=0, gid=0)
    pipe = made.attributes.inode
    allocate, copy, seek = (requests.ranges.allocate, requests.ranges.copy, requests.ranges.seek)
    for inode, number in ((ROOT_INODE, errno.EISDIR), (pipe, errno.EINVAL)):
        await refused(number, requests.read(inode, 0, 9))
        await refused(number, write(requests, inode, 0, b"x"))
        await refused(number, seek(inode, 0, os.SEEK_DATA))
        await refused(number, allocate(inode, 0, 9, 0, kill_privileges=False))
        await refused(number, copy(inode, 0, inode, 9, 1, kill_privileges=False))
        assert not volume.files.knows(inode)


async def test_read_only_and_full(requests: Requests, volume: MemoryVolume) -> None:
    inode = await new_file(requests, b"f")
    await write(requests, inode, 0, b"abc")
    volume.full = True
    await refused(errno.ENOSPC, write(requests, inode, 0, b"x"))
    await refused(errno.ENOSPC, requests.create(ROOT_INODE, b"g", mode=0o600, uid=0, gid=0))
    await refused(errno.ENOSPC, requests.link(inode, ROOT_INODE, b"g"))
    await refused(errno.ENOSPC, requests.set_xattr(inode, b"user.a", b"", 0))
    await refused(errno.ENOSPC, requests.change(inode, Change(size=99)))
    await requests.change(inode, Change(size=1))
    await requests.change(inode, Change(mode=0o600))
    await requests.rename(ROOT_INODE, b"f", ROOT_INODE, b"g", 0)
    volume.full, volume.read_only = False, True
    for action in (write(requests, inode, 0, b"x"), requests.unlink(ROOT_INODE, b"g"),
                   requests.rmdir(ROOT_INODE, b"g"), requests.empty(inode, kill_privileges=False),
                   requests.rename(ROOT_INODE, b"g", ROOT_INODE, b"h", 0),
                   requests.change(inode, Change(mode=0)),
                   requests.remove_xattr(inode, b"user.a")):
        await refused(errno.EROFS, action)
    assert await requests.read(inode, 0, 9) == b"a"
    assert requests.stat(inode).attributes.size == 1


async def test_truncate_on_open(requests: Requests) -> None:
    inode = await new_file(requests, b"f")
    await write(requests, inode, 0, b"old")
    before = requests.stat(inode).attributes
    await requests.empty(inode, kill_privileges=False)
    after = requests.stat(inode).attributes
    assert after.size == 0
    assert after.mtime_ns > before.mtime_ns
    assert await requests.read(inode, 0, 9) == b""


async def test_privileges_go_with_a_write_of_anyone_but_root(requests: Requests,
                                                             stale: list[InodeId]) -> None:
    inode = await new_file(requests, b"f", mode=0o6777)
    await write(requests, inode, 0, b"x")
    assert requests.stat(inode).attributes.mode == stat.S_IFREG | 0o6777
    await write(requests, inode, 0, b"x", kill_privileges=True)
    assert requests.stat(inode).attributes.mode == stat.S_IFREG | 0o777
    assert stale == [inode]
    await requests.change(inode, Change(mode=0o4777))
    await requests.change(inode, Change(size=0, kill_privileges=True))
    assert requests.stat(inode).attributes.mode == stat.S_IFREG | 0o777


async def test_sizes_out_of_range(requests: Requests) -> None:
    inode = await new_file(requests, b"f")
    await refused(errno.EFBIG, write(requests, inode, (1 << 63) - 2, b"xx"))
    await refused(errno.EFBIG, requests.change(inode, Change(size=1 << 63)))
    await refused(errno.EINVAL, requests.change(inode, Change(size=-1)))
    await refused(errno.EISDIR, requests.change(ROOT_INODE, Change(size=0)))


async def test_a_handle_that_is_asked_in_the_middle_first_misses_nothing(
        requests: Requests) -> None:
    """A server of NFS read the beginning through another one."""
    names = [b"%03d" % number for number in range(40)]
    for name in names:
        inode = await new_file(requests, name)
    for number in range(5):
        await requests.link(inode, ROOT_INODE, b"link%d" % number)
    read = list(requests.directories.plain_entries(requests.directories.open(ROOT_INODE), 0))
    assert len({cookie for *_, cookie in read}) == len(read) == 47
    removed: set[bytes] = set()
    for at in (12, 43):
        fh = requests.directories.open(ROOT_INODE)
        for name in {name for name, *_ in read[2:at:2]} - removed:
            await requests.unlink(ROOT_INODE, name)
            removed.add(name)
        rest = [name for name, *_ in read[at:]]
        cookie = read[at - 1][3]
        assert [name for name, *_ in requests.directories.plain_entries(fh, cookie)] == rest
        assert [name for name, *_ in requests.directories.entries(fh, cookie)] == rest


async def test_reading_a_directory(requests: Requests) -> None:
    for name in (b"a", b"b", b"c"):
        await requests.create(ROOT_INODE, name, mode=DIRECTORY, uid=0, gid=0)
    fh = requests.directories.open(ROOT_INODE)
    entries = list(requests.directories.entries(fh, 0))
    assert [name for name, *_ in entries] == [b".", b"..", b"a", b"b", b"c"]
    cookies = [cookie for *_, cookie in entries]
    assert cookies == sorted(set(cookies)) and cookies[0] > 0
    await requests.rmdir(ROOT_INODE, b"b")
    await requests.rename(ROOT_INODE, b"c", ROOT_INODE, b"aa", 0)
    await requests.create(ROOT_INODE, b"c", mode=0o644, uid=0, gid=0)
    rest = list(requests.directories.entries(fh, cookies[2]))
    assert [(name, cookie) for name, *_, cookie in rest] == [(b"c", cookies[4])]
    assert stat.S_ISREG(rest[0][2]), "what the name means now"
    assert [name for name, *_ in requests.directories.entries(fh, 0)] == [
        b".", b"..", b"a", b"aa", b"c"]
    assert list(requests.directories.entries(fh, (1 << 64) - 1)) == []
    with pytest.raises(FsError):
        requests.directories.open(rest[0][1])


def told(requests: Requests, folder: InodeId = ROOT_INODE) -> set[bytes]:
    """The names that a listing tells the kernel the attributes of."""
    entries = list(requests.directories.entries(requests.directories.open(folder), 0))
    for name, inode, _, found, _ in entries:
        assert found is None or found == requests.stat(inode), name
    return {name for name, _, _, found, _ in entries if found is not None} - {b".", b".."}


async def test_a_listing_does_not_repeat_what_the_kernel_has(requests: Requests) -> None:
    inodes = {name: await new_file(requests, name) for name in (b"a", b"b", b"c")}
    made = await requests.create(ROOT_INODE, b"d", mode=DIRECTORY, uid=0, gid=0)
    assert told(requests) == set(), "all were made by the kernel, which was told of each"
    await requests.write(inodes[b"a"], 0, b"content", kill_privileges=False)
    assert told(requests) == {b"a"}, "its size changed, though not yet in the tree"
    requests.lookup(ROOT_INODE, b"a")
    assert told(requests) == {b"a"}, "which the kernel keeps for a moment only"
    await requests.fsync(inodes[b"a"])
    assert told(requests) == {b"a"}
    requests.lookup(ROOT_INODE, b"a")
    assert told(requests) == set()
    requests.forget(inodes[b"b"], 100)
    assert told(requests) == {b"b"}
    await requests.change(made.attributes.inode, Change(mode=0o700))
    assert told(requests) == {b"b"}, "the reply said how it is now"


async def test_a_listing_tells_of_what_the_kernel_has_changed(requests: Requests) -> None:
    """Whose attributes it does not learn by the reply."""
    inodes = {name: await new_file(requests, name) for name in (b"a", b"b", b"c", b"d")}
    folder = (await requests.create(ROOT_INODE, b"f", mode=DIRECTORY, uid=0, gid=0)
              ).attributes.inode
    steps = [
        (requests.set_xattr(inodes[b"a"], b"user.x", b"y", 0), {b"a"}),
        (requests.remove_xattr(inodes[b"a"], b"user.x"), {b"a"}),
        (requests.ranges.allocate(inodes[b"b"], 0, 9, 0, kill_privileges=False), {b"b"}),
        (requests.ranges.copy(inodes[b"b"], 0, inodes[b"c"], 0, 5, kill_privileges=False),
         {b"c"}),
        (requests.rename(ROOT_INODE, b"d", ROOT_INODE, b"e", 0), {b"e"}),
        (requests.rename(ROOT_INODE, b"e", ROOT_INODE, b"a", RENAME_EXCHANGE), {b"a", b"e"}),
        (requests.link(inodes[b"b"], folder, b"g"), {b"f"}),
        (requests.unlink(folder, b"g"), {b"b", b"f"}),
        (requests.create_file(folder, b"g", mode=0o600, uid=0, gid=0), {b"f"}),
        (requests.rename(folder, b"g", ROOT_INODE, b"g", 0), {b"f", b"g"}),
        (requests.create(folder, b"h", mode=DIRECTORY, uid=0, gid=0), {b"f"}),
        (requests.rmdir(folder, b"h"), {b"f"}),
    ]
    for number, (step, changed) in enumerate(steps):
        await step
        for inode in inodes.values():
            await requests.fsync(inode)
        assert told(requests) == changed, number
        for name in changed:
            requests.lookup(ROOT_INODE, name)


async def test_a_listing_repeats_what_the_kernel_has_had_for_long(
        volume: MemoryVolume) -> None:
    requests = Requests(volume, lambda inode: None, told_for_s=0)
    await new_file(requests, b"a")
    assert told(requests) == {b"a"}


async def test_trusted_names_are_for_root(requests: Requests) -> None:
    inode = await new_file(requests, b"f")
    for name in (b"user.a", b"trusted.b"):
        await requests.set_xattr(inode, name, b"", 0)
    assert requests.list_xattrs(inode, uid=0) == [b"trusted.b", b"user.a"]
    assert requests.list_xattrs(inode, uid=7) == [b"user.a"]
