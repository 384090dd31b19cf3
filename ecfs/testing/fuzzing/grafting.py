"""From fuzz bytes to msgpack: as they stand, or grafted into a value that is otherwise right."""

from collections.abc import Iterator
from typing import Any

import msgpack

Path = tuple[Any, ...]


def grafted(data: bytes, base: Any) -> bytes:
    """msgpack to be decoded: with an odd first byte the rest of `data`; else `base` with the part
    that the next two bytes choose exchanged for what the rest says."""
    if len(data) < 4 or data[0] & 1:
        return data[1:]
    spots = list(_paths(base, ()))
    spot = spots[int.from_bytes(data[1:3], "big") % len(spots)]
    try:
        return packed(_replaced(base, spot, loose(data[3:])))
    except (ValueError, OverflowError, RecursionError):
        return data[3:]


def packed(value: Any) -> bytes:
    """As the formats pack, but with floats, extensions and odd keys let through."""
    return bytes(msgpack.packb(value, use_bin_type=True, unicode_errors="surrogateescape"))


def loose(data: bytes) -> Any:
    """Whatever value the bytes begin with; the bytes themselves where they are none."""
    unpacker = msgpack.Unpacker(
        strict_map_key=False, use_list=True, max_array_len=1 << 12, max_map_len=1 << 10,
        max_buffer_size=1 << 20, unicode_errors="surrogateescape")
    try:
        unpacker.feed(data)
        return unpacker.unpack()
    except (ValueError, TypeError, RecursionError, msgpack.UnpackException):
        return data


def _paths(value: Any, above: Path) -> Iterator[Path]:
    yield above
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from _paths(inner, (*above, key))
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            yield from _paths(inner, (*above, index))


def _replaced(value: Any, path: Path, new: Any) -> Any:
    if not path:
        return new
    copy = dict(value) if isinstance(value, dict) else list(value)
    copy[path[0]] = _replaced(value[path[0]], path[1:], new)
    return copy
