"""msgpack with hard limits, for bytes that were authenticated before."""

from typing import Any

import msgpack

from ecfs.base.errors import Damage
from ecfs.base.ids import ID_LEN

NUMBER_MAX = (1 << 63) - 1
"""What SQLite and the kernel's offsets hold."""


def pack(value: Any) -> bytes:
    """The msgpack encoding; the same value always gives the same bytes.

    Text may hold surrogates, as `os.fsdecode` makes them of paths that are not UTF-8.
    """
    encoded: bytes = msgpack.packb(value, use_bin_type=True, unicode_errors="surrogateescape")
    return encoded


def unpack(data: bytes, *, items_max: int = 1 << 17) -> Any:
    """The value in `data`; Damage when it is not one well-formed value within the limits.

    It is walked through first, which makes nothing: a list is allocated at the length that it
    claims, and some hundred of them one in another would take memory that `data` does not justify.
    """
    walker = msgpack.Unpacker(max_buffer_size=max(len(data), 1))
    try:
        walker.feed(data)
        walker.skip()
        return msgpack.unpackb(
            data, raw=False, strict_map_key=True, use_list=True, max_str_len=1 << 16,
            max_bin_len=len(data), max_array_len=items_max, max_map_len=1 << 12, max_ext_len=0,
            unicode_errors="surrogateescape")
    except (ValueError, msgpack.UnpackException) as error:
        raise Damage(f"not a well-formed record: {error}") from error


class Fields:
    """Checked access to a decoded map: every getter raises Damage on a wrong type or length."""

    def __init__(self, value: Any, what: str) -> None:
        if not isinstance(value, dict):
            raise Damage(f"{what} is not a map")
        self._map: dict[Any, Any] = value
        self._what = what

    def number(self, name: str, *, low: int = 0, high: int = NUMBER_MAX) -> int:
        """An integer within bounds, both inclusive."""
        value = self._map.get(name)
        if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
            raise Damage(f"{self._what}: {name} is not a number from {low} to {high}")
        return value

    def data(self, name: str, *, length: int | None = None, length_max: int = 1 << 22) -> bytes:
        """Bytes of an exact or a bounded length."""
        value = self._map.get(name)
        if not isinstance(value, bytes) or len(value) > length_max or (
                length is not None and len(value) != length):
            raise Damage(f"{self._what}: {name} is not bytes of the right length")
        return value

    def text(self, name: str) -> str:
        """A string."""
        value = self._map.get(name)
        if not isinstance(value, str):
            raise Damage(f"{self._what}: {name} is not text")
        return value

    def flag(self, name: str) -> bool:
        """A boolean."""
        value = self._map.get(name)
        if not isinstance(value, bool):
            raise Damage(f"{self._what}: {name} is not a flag")
        return value

    def items(self, name: str, *, count_max: int) -> list[Any]:
        """A list of at most `count_max` items."""
        value = self._map.get(name)
        if not isinstance(value, list) or len(value) > count_max:
            raise Damage(f"{self._what}: {name} is not a list of at most {count_max} items")
        return value

    def ids(self, name: str, *, count_max: int) -> tuple[bytes, ...]:
        """At most `count_max` ids of 16 bytes."""
        return checked_ids(self.items(name, count_max=count_max), f"{self._what}: {name}")

    def maps(self, name: str, *, count_max: int) -> list["Fields"]:
        """A list of maps."""
        return [Fields(value, f"{self._what}.{name}")
                for value in self.items(name, count_max=count_max)]

    def has(self, name: str) -> bool:
        """Whether a value that is not None is there."""
        return self._map.get(name) is not None

    def part(self, name: str) -> "Fields":
        """A map inside this one."""
        return Fields(self._map.get(name), f"{self._what}.{name}")


def checked_ids(values: list[Any], what: str) -> tuple[bytes, ...]:
    """The values when all of them are ids of 16 bytes; else Damage."""
    if not all(isinstance(value, bytes) and len(value) == ID_LEN for value in values):
        raise Damage(f"{what} is not a list of ids")
    return tuple(values)


def checked_numbers(values: Any, what: str, count: int) -> list[int]:
    """The values when they are `count` integers from 0 to NUMBER_MAX; else Damage."""
    if not isinstance(values, list) or len(values) != count or not all(
            isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= NUMBER_MAX
            for value in values):
        raise Damage(f"{what} is malformed")
    return values
