"""Keys on their way: what hostile labels make us do for them, and where their bytes show."""

import gc
import logging
import os
import traceback
import types
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ecfs.base.errors import Bug, ForeignTargets, UnknownFormat, WrongPassphrase
from ecfs.base.limits import KDF_MEMORY_CAP_KIB, KDF_PASSES_CAP, KDF_RUNS_PER_UNLOCK_MAX
from ecfs.cli.engine import Key, NewPool
from ecfs.erasure import Geometry
from ecfs.formats import (
    Label,
    TargetEntry,
    decode_label,
    encode_label,
    label_name,
    labels_among,
)
from ecfs.keys import KdfParameters, KeySlot, MasterKey, SlotKind
from ecfs.observe import EventKind
from ecfs.targets import MemoryTarget
from ecfs.testing.pools import Ground
from ecfs.testing.quick import remember_keys
from ecfs.volume import PoolOrder, Secret, label_mac, open_volume
from tests.architecture.source import sources
from tests.unit.volume.simulated import FOUR_AND_TWO, KDF, SECRET, Handle, Pool, get, put

Runs = list[KdfParameters]


@pytest.fixture
def runs(monkeypatch: pytest.MonkeyPatch) -> Runs:
    """The parameters of each run of the KDF, which is done for real."""
    done: Runs = []

    from ecfs.keys import slots

    stretch = slots._stretch

    def counted(secret: bytes, kdf: KdfParameters, salt: bytes) -> bytes:
        done.append(kdf)
        return stretch(secret, replace(kdf, memory_kib=64, passes=1), salt) if (
            salt.startswith(b"junk")) else stretch(secret, kdf, salt)

    monkeypatch.setattr(slots, "_stretch", counted)
    return done


def newest_label(pool: Pool, path: str) -> Label:
    memory = pool.memories[path]
    name = labels_among(memory.list_names())[0][2]
    return decode_label(memory.read(name, 0, 1 << 20)).label


def junk_slots(count: int, kdf: KdfParameters = KDF) -> tuple[KeySlot, ...]:
    return tuple(KeySlot(number, SlotKind.PASSPHRASE, kdf, b"junk%028d" % number, bytes(48),
                         bytes(32)) for number in range(count))


def forge(pool: Pool, path: str, slots: tuple[KeySlot, ...]) -> None:
    """Newer labels with these slots, eight in each; whoever holds a target can write them."""
    label = newest_label(pool, path)
    for at in range(0, len(slots), 8):
        forged = replace(label, generation=label.generation + 1 + at, slots=slots[at : at + 8])
        pool.memories[path].create(label_name(forged.epoch, forged.generation),
                                   encode_label(forged, lambda body: bytes(32)))


# -- work ----------------------------------------------------------------------------------------

@pytest.mark.parametrize("liars", [1, 2])
async def test_junk_slots_on_some_targets_lock_nobody_out(
        pool: Pool, runs: Runs, liars: int) -> None:
    async with pool.mounted() as volume:
        await put(volume, b"a", b"x")
    runs.clear()
    for path in pool.paths[:liars]:
        forge(pool, path, junk_slots(24))
    async with pool.mounted() as volume:
        assert await get(volume, b"a") == b"x"
    assert len(runs) <= 2


@pytest.mark.parametrize("first", [0, 1])
async def test_folders_that_only_a_liar_names_have_no_say(
        pool: Pool, runs: Runs, first: int) -> None:
    """One target names forty folders of its own, each with junk slots and a label."""
    liar = pool.paths[0]
    real = newest_label(pool, liar)
    folders = [f"{liar}/{number}" for number in range(40)]
    fakes = tuple(TargetEntry(b"%016d" % number, f"fake{number}", folder)
                  for number, folder in enumerate(folders))
    forged = replace(real, generation=real.generation + 1, targets=real.targets + fakes,
                     slots=junk_slots(8))
    for folder, fake in zip(folders, fakes, strict=True):
        pool.memories[folder] = MemoryTarget(folder, total_len=1 << 30)
        for generation in range(1, 4):
            slots = junk_slots(8 * generation)[-8:]
            pool.memories[folder].create(label_name(1, generation), encode_label(
                replace(forged, target_id=fake.id, generation=generation, slots=slots),
                lambda body: bytes(32)))
    pool.memories[liar].create(label_name(forged.epoch, forged.generation),
                               encode_label(forged, lambda body: bytes(32)))
    async with pool.mounted(paths=pool.paths[first:]) as volume:
        await put(volume, b"a", b"x")
    assert len(runs) <= 2


@pytest.mark.parametrize(("data", "parity", "alike"), [(1, 1, True), (1, 2, True), (1, 2, False),
                                                       (2, 2, True), (2, 2, False)])
async def test_as_many_targets_with_junk_slots_as_may_lie_lock_nobody_out(
        tmp_path: Path, runs: Runs, data: int, parity: int, alike: bool) -> None:
    """Where m is not less than k, honest targets are no majority."""
    ground = Ground(tmp_path / "pool", geometry=Geometry(data, parity),
                    targets_count=data + parity)
    await ground.create()
    for number, target in enumerate(map(Path, ground.paths[:parity])):
        names = [name for _, _, name in labels_among(os.listdir(target))]
        label = decode_label(target.joinpath(names[0]).read_bytes()).label
        for name in names:
            target.joinpath(name).unlink()
        junk = junk_slots(24 * (1 if alike else number + 1))[-24:]
        for at in range(0, 24, 8):
            forged = replace(label, generation=label.generation + 1 + at,
                             slots=junk[at : at + 8])
            target.joinpath(label_name(label.epoch, forged.generation)).write_bytes(
                encode_label(forged, lambda body: bytes(32)))
    runs.clear()
    async with ground.open() as opening:
        assert len(opening.volume.fleet.online()) == data
    assert len(runs) <= 2 * (parity + 1)


async def test_pools_that_as_many_targets_name_as_may_lie_are_tried(
        tmp_path: Path, runs: Runs) -> None:
    """Each names another one, and the honest one comes last."""
    ground = Ground(tmp_path / "pool", geometry=Geometry(1, 3), targets_count=4)
    await ground.create()
    (ground.state_dir / "targets.json").unlink()
    for number, path in enumerate(ground.paths[:3]):
        for _, _, name in labels_among(os.listdir(path)):
            label = decode_label(Path(path, name).read_bytes()).label
            Path(path, name).write_bytes(encode_label(replace(
                label, pool_id=b"%016d" % number, slots=junk_slots(1)), lambda body: bytes(32)))
    async with ground.open() as opening:
        assert opening.volume.read_only and len(opening.volume.fleet.online()) == 1


async def test_a_wrong_passphrase_costs_no_more_than_the_bound(pool: Pool, runs: Runs) -> None:
    for path in pool.paths:
        forge(pool, path, junk_slots(24))
    with pytest.raises(WrongPassphrase):
        async with open_volume(pool.paths, Secret("passphrase", b"no"), pool.environment()):
            pass
    assert len(runs) <= KDF_RUNS_PER_UNLOCK_MAX


@pytest.mark.parametrize("kdf", [
    KdfParameters(KDF_MEMORY_CAP_KIB + 1, 1, 1), KdfParameters(1 << 40, 1, 1),
    KdfParameters(64 * 1024, KDF_PASSES_CAP + 1, 1), KdfParameters(64 * 1024, 1, 17),
    KdfParameters(64 * 1024 - 1, 1, 1), KdfParameters(0, 0, 0), KdfParameters(64 * 1024, 1, 0)])
async def test_parameters_out_of_bounds_cost_no_work(
        pool: Pool, runs: Runs, kdf: KdfParameters) -> None:
    for path in pool.paths:
        for _, _, name in labels_among(pool.memories[path].list_names())[1:]:
            pool.memories[path].remove(name)
        label = newest_label(pool, path)
        slots = tuple(replace(slot, kdf=kdf) for slot in label.slots)
        pool.memories[path].remove(label_name(label.epoch, label.generation))
        pool.memories[path].create(label_name(label.epoch, label.generation),
                                   encode_label(replace(label, slots=slots), lambda _: bytes(32)))
    with pytest.raises(UnknownFormat):
        async with pool.mounted():
            pass
    assert runs == []


def test_the_parameters_that_are_accepted_are_these_and_no_others() -> None:
    """One function of stretching, one cipher, fixed bounds; a label chooses only numbers."""
    def accepted(kdf: KdfParameters) -> bool:
        try:
            kdf.check(ram_kib=1 << 40)
        except UnknownFormat:
            return False
        return True

    base = KdfParameters(64 * 1024, 1, 1)
    assert [memory for memory in (1, 65535, 65536, 4 << 20, (4 << 20) + 1)
            if accepted(replace(base, memory_kib=memory))] == [65536, 4 << 20]
    assert [passes for passes in range(40) if accepted(replace(base, passes=passes))] == list(
        range(1, 17))
    assert [lanes for lanes in range(40) if accepted(replace(base, lanes=lanes))] == list(
        range(1, 17))
    primitives = {name for source in sources("ecfs") for name in (
        "Argon2id", "Argon2i(", "Scrypt", "PBKDF2", "AESGCM", "ChaCha20", "AESCCM", "AESSIV")
        if name in source.text and source.room in ("keys", "sealing", "formats", "volume")}
    assert primitives == {"Argon2id", "AESGCM"}


@pytest.mark.parametrize("change", [{"incompatible": 1 << 40}, {"liars": 0}])
async def test_a_pool_that_is_refused_after_it_was_unlocked_is_let_go(
        pool: Pool, change: dict[str, int], monkeypatch: pytest.MonkeyPatch) -> None:
    """THREATS 31: an unknown bit that is authentic, as a newer program writes it."""
    async with pool.mounted() as volume:
        mac = label_mac(volume.opened.master)
    for path in pool.paths:
        label = newest_label(pool, path)
        newer: Label = replace(label, generation=label.generation + 1, **change)  # type: ignore[arg-type]
        pool.memories[path].create(label_name(newer.epoch, newer.generation),
                                   encode_label(newer, mac))
    before = {path: memory.list_names() for path, memory in pool.memories.items()}
    closed: list[str] = []
    monkeypatch.setattr(Handle, "close", lambda handle: closed.append(handle.path))
    with pytest.raises(UnknownFormat):
        async with pool.mounted():
            pass
    assert sorted(closed) == sorted(pool.paths)
    assert before == {path: memory.list_names() for path, memory in pool.memories.items()}
    log = (pool.folder / "state" / "audit.jsonl").read_text().splitlines()
    assert '"kind":"refused"' in log[-1] and volume.pool_id.hex() in log[-1]


@pytest.mark.parametrize("change", [
    {"data": 3}, {"parity": 1}, {"liars": 0}, {"read_only_compatible": 1}, {"epoch": 99},
    {"slots_generation": 9}])
async def test_an_edited_label_is_left_out_and_an_edited_pool_is_refused(
        pool: Pool, change: dict[str, int]) -> None:
    """THREATS 30, 31, 34: what is not authentic decides nothing."""
    def edit(path: str) -> None:
        for _, _, name in labels_among(pool.memories[path].list_names()):
            label = decode_label(pool.memories[path].read(name, 0, 1 << 20))
            edited: Label = replace(label.label, **change)  # type: ignore[arg-type]
            pool.memories[path].remove(name)
            pool.memories[path].create(
                name, encode_label(edited, lambda body, mac=label.mac: mac))  # type: ignore[misc]

    async with pool.mounted() as volume:
        await put(volume, b"a", b"x" * 5000)
    for path in pool.paths[:2]:
        edit(path)
    async with pool.mounted() as volume:
        assert await get(volume, b"a") == b"x" * 5000
        assert {member.path for member in volume.fleet.online()} == set(pool.paths[2:])
        assert volume.journal.count(EventKind.LABEL_BAD) >= 2
        assert volume.status().data == 4 and volume.status().parity == 2
    for path in pool.paths[2:]:
        edit(path)
    names = {path: memory.list_names() for path, memory in pool.memories.items()}
    with pytest.raises(ForeignTargets, match="authentic"):
        async with pool.mounted():
            pass
    assert names == {path: memory.list_names() for path, memory in pool.memories.items()}


# -- what shows ----------------------------------------------------------------------------------

class Shown:
    """Secrets, in the forms in which text could show them."""

    def __init__(self, secrets: list[bytes]) -> None:
        self._forms = {form for secret in secrets if secret for form in (
            repr(secret)[2:-1], secret.hex(), str(list(secret))[1:-1],
            repr(secret.hex().upper())[1:-1])}

    def inside(self, text: str) -> bool:
        return any(form in text for form in self._forms)


def secrets_of(master: MasterKey) -> list[bytes]:
    purposes = [master.purpose(name) for kind in ("label", "claim", "heartbeat", "commit")
                for name in (kind, f"{kind} salt")]
    segments = [key for number in range(1, 8) for epoch in range(1, 5)
                for keys in [master.segment(number, epoch)]
                for key in (keys.seal, keys.tag, keys.salt)]
    return [master._key, SECRET.value, master.purpose("key slot salt"), *purposes, *segments]


def reachable(root: object) -> Iterator[object]:
    """Every object that can be reached, modules, types and what belongs to the interpreter not."""
    seen = {id(root)}
    waiting = [root]
    while waiting:
        item = waiting.pop()
        yield item
        for other in gc.get_referents(item):
            if id(other) in seen or isinstance(
                    other, type | types.ModuleType | types.FrameType | types.CodeType):
                continue
            if isinstance(other, dict) and "__builtins__" in other:
                # What a module has.
                continue
            seen.add(id(other))
            waiting.append(other)


async def test_no_repr_of_an_open_volume_shows_a_key(pool: Pool) -> None:
    async with open_volume(pool.paths, SECRET, pool.environment()) as volume:
        await put(volume, b"a", b"x" * 50_000)
        shown = Shown(secrets_of(volume.opened.master))
        assert shown.inside(repr([SECRET.value])), "the search finds what is there"
        texts: dict[str, str] = {}
        for item in reachable(volume):
            if type(item).__module__.startswith("ecfs."):
                texts[repr(item)] = texts[str(item)] = type(item).__qualname__
        assert len(texts) > 100
        leaking = set()
        if shown.inside("\n".join(texts)):
            leaking = {name for text, name in texts.items() if shown.inside(text)}
        assert leaking == set()


def test_no_repr_of_an_order_shows_a_secret() -> None:
    secret = b"hunter2 hunter2"
    shown = Shown([secret])
    orders: list[Any] = [
        Secret("passphrase", secret), Key("passphrase", secret),
        PoolOrder(("/a",), FOUR_AND_TWO, Secret("key_file", secret), KDF),
        NewPool(("/a",), 1, 1, Key("passphrase", secret), 65536, 1, False, False)]
    for order in orders:
        assert not shown.inside(f"{order!r} {order}")


UNLOCKING = (
    "ecfs.keys.slots.UnitSealer", "ecfs.keys.slots.derive", "ecfs.keys.slots.Argon2id",
    "ecfs.keys.master.derive", "ecfs.volume.locate.label_mac", "ecfs.volume.opening.check_known",
    "ecfs.volume.opening.read_log", "ecfs.volume.opening.load_map", "ecfs.volume.claiming.Claim",
    "ecfs.formats.box.UnitSealer", "ecfs.volume.opening.PageStore")


@pytest.mark.parametrize("name", UNLOCKING)
async def test_a_bug_while_unlocking_shows_no_key_in_log_or_traceback(
        pool: Pool, name: str, monkeypatch: pytest.MonkeyPatch,
        caplog: pytest.LogCaptureFixture) -> None:
    async with pool.mounted() as volume:
        shown = Shown(secrets_of(volume.opened.master))
    caplog.set_level(logging.DEBUG)

    def broken(*_: object, **__: object) -> None:
        raise ZeroDivisionError("a bug")

    monkeypatch.setattr(name, broken)
    with pytest.raises((ZeroDivisionError, BaseExceptionGroup)) as caught:
        async with pool.mounted():
            pass
    error = caught.value
    assert "a bug" in "".join(traceback.format_exception(error))
    logging.getLogger("ecfs").error("unexpected", exc_info=error)
    assert "a bug" in caplog.text
    assert not shown.inside(caplog.text)
    while error is not None:
        assert not shown.inside(f"{error!r} {error.args}")
        error = error.__cause__ or error.__context__  # type: ignore[assignment]


async def test_a_whole_session_logs_no_key(
        pool: Pool, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    async with pool.mounted() as volume:
        shown = Shown(secrets_of(volume.opened.master))
        await put(volume, b"a", b"x" * 50_000)
        pool.fail_on(1)
        await put(volume, b"b", b"x" * 50_000)
        pool.heal()
        status = str(volume.status().to_json())
    with pytest.raises(WrongPassphrase):
        async with open_volume(pool.paths, Secret("passphrase", SECRET.value + b"2"),
                               pool.environment()):
            pass
    audit = (pool.folder / "state" / "audit.jsonl").read_text()
    assert len(caplog.text) > 100 and len(audit) > 100
    for text in (caplog.text, audit, status):
        assert not shown.inside(text)
    for folder, _, names in os.walk(pool.folder):
        for name in names:
            data = Path(folder, name).read_bytes()
            assert not any(secret in data for secret in secrets_of(volume.opened.master))


def test_nothing_of_ours_shows_locals_in_a_traceback() -> None:
    """With them a traceback would show the passphrase, whatever its `repr` hides."""
    for source in sources("ecfs", "scripts"):
        for words in ("capture_locals", "show_locals", "cgitb", "rich.traceback"):
            assert words not in source.text, source.path


def test_a_master_key_of_another_length_is_a_bug_that_does_not_show_it() -> None:
    make: Callable[[bytes], MasterKey] = MasterKey
    with pytest.raises(Bug) as caught:
        make(b"almost a key, one byte too much!!")
    assert "almost" not in str(caught.value)


@pytest.fixture(autouse=True)
def _quick(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who looks at the KDF itself runs it."""
    if "runs" not in request.fixturenames and "name" not in request.fixturenames:
        remember_keys(monkeypatch)
