"""Making a stripe and taking it apart: bytes and keys in, bytes out; no target is touched here."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from ecfs.base.errors import Bug, Damage
from ecfs.base.memory import unwritten
from ecfs.base.rope import Rope
from ecfs.base.units import BLOCK_LEN
from ecfs.erasure import Code, Geometry
from ecfs.formats import (
    HEAD_INDEX,
    SegmentEntry,
    StripeHead,
    column_name,
    fitting_body_len,
    header_len,
    join_record_header,
    pack_head,
    split_record_header,
    stripe_binding,
    unpack_head,
)
from ecfs.keys import SegmentKeys
from ecfs.sealing import (
    UnitSealer,
    UniversalHash,
    check_shard_tag,
    derive,
    keyed_hash,
    sealed_len,
    shard_tag,
    stripe_salt,
    tag_vector_digest,
)
from ecfs.stripes.layout import Layout, UnitRun, sealed_len_estimate

_STRIPE_KEY = b"ecfs stripe"

Buffer = bytes | bytearray | memoryview


@dataclass(frozen=True, slots=True)
class StripeRef:
    """A stripe that was written: its address, and what decides whether a shard belongs to it."""

    segment: SegmentEntry
    kind: int
    offset: int
    body_len: int
    salt: bytes
    digest: bytes

    @property
    def geometry(self) -> Geometry:
        """k and m of the segment."""
        return Geometry(self.segment.data, self.segment.parity)

    def layout(self, unit_len: int) -> Layout:
        """Where units lie, of at most `unit_len` bytes."""
        return Layout(self.segment.data, self.body_len, unit_len)

    @property
    def head_len(self) -> int:
        """Length of a record before its body."""
        return header_len(len(self.segment.columns))

    @property
    def record_len(self) -> int:
        """Length of each shard record, a multiple of 4 KiB."""
        return self.head_len + self.body_len


@dataclass(frozen=True, slots=True)
class SealedStripe:
    """A stripe ready to be written: `header` is the same in all columns."""

    ref: StripeRef
    header: bytes
    bodies: tuple[memoryview, ...]
    starts: tuple[int, ...]


def binding_of(segment: SegmentEntry, pool_id: bytes, offset: int, kind: int) -> bytes:
    """What AEAD and tags of the stripe at `offset` are bound to."""
    return stripe_binding(pool_id=pool_id, epoch=segment.epoch, segment=segment.id, offset=offset,
                          data=segment.data, parity=segment.parity, kind=kind)


def plan_stripe(geometry: Geometry, lengths: Sequence[int], *,
                unit_len: int) -> tuple[int, list[int]]:
    """The least body length that holds extents of these lengths in order, and where they begin."""
    estimate = sealed_len_estimate(lengths, unit_len)
    body_len = fitting_body_len(-(-estimate // geometry.data), geometry.shards)
    while True:
        try:
            return body_len, Layout(geometry.data, body_len, unit_len).starts(lengths)
        except Bug:
            body_len += BLOCK_LEN


def seal_stripe(*, keys: SegmentKeys, pool_id: bytes, segment: SegmentEntry, offset: int,
                kind: int, extents: Sequence[Buffer | Rope], directory: bytes, body_len: int,
                order: int, fresh: bytes, code: Code) -> SealedStripe:
    """Seal, code and tag one stripe.

    `extents` then `directory` are laid out in this order; `fresh` is 32 random bytes. Encryption
    comes first, so parity is over ciphertext and a shard says nothing of the content.
    """
    ropes = [part if isinstance(part, Rope) else Rope([part]) for part in (*extents, directory)]
    binding = binding_of(segment, pool_id, offset, kind)
    hashed = _hash_of(keys)
    layout = Layout(segment.data, body_len, keys.unit_len)
    placed: list[list[UnitRun]] = []
    starts = []
    position = 0
    for rope in ropes:
        runs, after = layout.place(position, len(rope))
        starts.append(runs[0].shard * body_len + runs[0].offset if runs else position)
        placed.append(runs)
        position = after
    head = pack_head(StripeHead(kind, body_len, len(directory), len(extents), starts[-1], order))
    # The head too: its order may be another one when `fresh` repeats.
    salt = stripe_salt(keys.salt, kind=b"stripe", address=binding, fresh=fresh,
                       parts=[*(_digest_of(rope, keys, hashed) for rope in ropes), head])
    sealer = UnitSealer(derive(keys.seal, salt=salt, info=_STRIPE_KEY))
    data = unwritten(segment.data * body_len)
    view = memoryview(data)
    edge = 0
    for rope, own in zip(ropes, placed, strict=True):
        done = 0
        for run in own:
            at = run.shard * body_len + run.offset
            if at > edge:
                # Where nothing fits, zeros.
                view[edge:at] = bytes(at - edge)
            edge = at + run.sealed_len
            _seal_run(sealer, run, binding, rope, done, view[at:edge])
            done += run.length
    view[edge:] = bytes(len(view) - edge)
    parity = code.encode(data, body_len) if segment.parity else []
    bodies = [view[i * body_len : (i + 1) * body_len] for i in range(segment.data)]
    bodies += [memoryview(body) for body in parity]
    tags = [shard_tag(keys.tag, binding=binding, index=index, body=hashed(body))
            for index, body in enumerate(bodies)]
    sealed_head = sealer.seal(HEAD_INDEX, binding, head)
    ref = StripeRef(segment, kind, offset, body_len, salt, tag_vector_digest(tags))
    return SealedStripe(ref, join_record_header(sealed_head, salt, tags), tuple(bodies),
                        tuple(starts[:-1]))


def _digest_of(rope: Rope, keys: SegmentKeys, hashed: Callable[[Buffer], Buffer]) -> Buffer:
    """What the salt is over for an extent: one string, wherever it was cut, so that no part of it
    can pass for one of its neighbour."""
    digests = [hashed(part) for part in rope.parts]
    if len(digests) == 1:
        return digests[0]
    return keyed_hash(keys.salt, purpose=b"ecfs parts", parts=digests)


def _seal_run(sealer: UnitSealer, run: UnitRun, binding: bytes, rope: Rope, begin: int,
              out: memoryview) -> None:
    """Seal the bytes of a rope from `begin` on as the units of a run. Only a unit that lies in two
    parts is joined."""
    unit_len, left, at = run.unit_len, run.length, 0
    while left:
        plain = rope.part_from(begin)[:left]
        if plain.nbytes < left:
            plain = plain[: plain.nbytes - plain.nbytes % unit_len]
            if not plain.nbytes:
                plain = memoryview(rope.copied(begin, begin + min(unit_len, left)))
        length = sealed_len(plain.nbytes, unit_len)
        sealer.seal_run(run.nonce + at, binding, plain, out[at : at + length], unit_len=unit_len)
        begin, left, at = begin + plain.nbytes, left - plain.nbytes, at + length


def check_body(keys: SegmentKeys, *, binding: bytes, index: int, body: Buffer,
               tag: bytes) -> None:
    """Damage unless `tag` is that of shard `index` of the stripe that `binding` names."""
    check_shard_tag(keys.tag, binding=binding, index=index, body=_hash_of(keys)(body), tag=tag)


def _hash_of(keys: SegmentKeys) -> Callable[[Buffer], Buffer]:
    """Gives what salts and tags are over: a hash of the content, in older pools the content."""
    return _itself if keys.hash is None else UniversalHash(keys.hash).of


def _itself(content: Buffer) -> Buffer:
    return content


class StripeOpener:
    """Opens units and checks shards of one stripe, given its reference. Its bodies lie at
    `body_offset` of files called `column_name`."""

    def __init__(self, ref: StripeRef, keys: SegmentKeys, pool_id: bytes) -> None:
        self._ref = ref
        self.column_name = column_name(ref.segment.epoch, ref.segment.id)
        self.body_offset = ref.offset + ref.head_len
        self._keys = keys
        self._binding = binding_of(ref.segment, pool_id, ref.offset, ref.kind)
        self._sealer = UnitSealer(derive(keys.seal, salt=ref.salt, info=_STRIPE_KEY))

    def open_unit(self, index: int, sealed: Buffer) -> bytes:
        """Plain bytes of a unit; Damage unless authentic."""
        return self._sealer.open(index, self._binding, sealed)

    def open_run(self, run: UnitRun, sealed: memoryview, out: memoryview) -> None:
        """Plain bytes of the units of a run, into `out`; Damage unless all are authentic."""
        self._sealer.open_run(run.nonce, self._binding, sealed, out, unit_len=run.unit_len)

    def checked_header(self, record: Buffer) -> bytes:
        """The record's header when it is this stripe's to the last byte; else Damage."""
        count = len(self._ref.segment.columns)
        sealed_head, salt, tags = split_record_header(bytes(record[: self._ref.head_len]), count)
        if salt != self._ref.salt or tag_vector_digest(tags) != self._ref.digest:
            raise Damage("shard record belongs to another stripe")
        self.open_unit(HEAD_INDEX, sealed_head)
        return bytes(record[: self._ref.head_len])

    def head(self, record: Buffer) -> StripeHead:
        """The sealed head of a record; Damage unless authentic."""
        sealed_head, _, _ = split_record_header(bytes(record[: self._ref.head_len]),
                                                len(self._ref.segment.columns))
        return unpack_head(self.open_unit(HEAD_INDEX, sealed_head))

    def checked_body(self, column: int, record: Buffer, header: bytes) -> memoryview:
        """The body of a whole record whose tag, in the verified `header`, is right; else Damage."""
        if len(record) != self._ref.record_len:
            raise Damage("shard record is cut off")
        _, _, tags = split_record_header(header, len(self._ref.segment.columns))
        body = memoryview(record)[self._ref.head_len :]
        check_body(self._keys, binding=self._binding, index=column, body=body, tag=tags[column])
        return body


def rebuild_bodies(code: Code, bodies: Mapping[int, Buffer], wanted: Sequence[int],
                   length: int) -> dict[int, Buffer]:
    """Bodies (or equal ranges of bodies) `wanted`, from the good ones. Unreadable if too few."""
    missing = [index for index in wanted if index not in bodies]
    made = code.reconstruct(bodies, missing, length) if missing else {}
    return {index: bodies[index] if index in bodies else made[index] for index in wanted}
