"""Steps from one version of a page to the next: zstandard, with the page before as dictionary.

The binding for Python makes a context for each dictionary, which asks the processor what it can do;
in a virtual machine the question alone takes 8 us, and a small commit changes ten pages. So where
the system's libzstd is there, it is called directly, with one context for all pages; the frames are
of one format (RFC 8878) either way.
"""

import ctypes
import threading

import zstandard

from ecfs.base.errors import Damage
from ecfs.base.units import BLOCK_LEN
from ecfs.formats import PageDelta

_LEVEL = 1
_LIBRARY = "libzstd.so.1"
_DICTIONARY_MAGIC = (0xEC30A437).to_bytes(4, "little")
"""A page that begins so would be taken for a dictionary with tables in it."""
_ROOM = 2 * BLOCK_LEN


class _System:
    """libzstd of the system, one context; holds the interpreter's lock for the few us it takes."""

    def __init__(self) -> None:
        library = ctypes.PyDLL(_LIBRARY)
        library.ZSTD_createCCtx.restype = ctypes.c_void_p
        self._compress = library.ZSTD_compress_usingDict
        self._compress.restype = ctypes.c_size_t
        self._compress.argtypes = [
            ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t, ctypes.c_char_p, ctypes.c_size_t,
            ctypes.c_char_p, ctypes.c_size_t, ctypes.c_int]
        self._context = library.ZSTD_createCCtx()
        if not self._context:
            raise OSError("libzstd made no context")
        self._out = ctypes.create_string_buffer(_ROOM)

    def compress(self, after: bytes, before: bytes | None) -> bytes | None:
        """A frame; None where this library does not make one."""
        length: int = self._compress(
            self._context, self._out, _ROOM, after, len(after), before,
            0 if before is None else len(before), _LEVEL)
        # What is longer than the room is an error's number.
        return bytes(memoryview(self._out)[:length]) if length <= _ROOM else None


class _PerThread(threading.local):
    """A context is for one thread at a time."""

    def __init__(self) -> None:
        try:
            self.system: _System | None = _System()
        except (OSError, AttributeError):
            self.system = None


_per_thread = _PerThread()


def encode_delta(page: int, before: bytes | None, after: bytes) -> PageDelta:
    """The step from one version of a page to the next; without one, the page by itself."""
    system = _per_thread.system
    frame = None
    if system is not None and not (before or b"").startswith(_DICTIONARY_MAGIC):
        frame = system.compress(after, before)
    return PageDelta(page, before is not None, frame or compress_with_binding(after, before))


def compress_with_binding(after: bytes, before: bytes | None) -> bytes:
    """A frame, made by the binding for Python."""
    if before is None:
        return zstandard.ZstdCompressor(level=_LEVEL).compress(after)
    dictionary = zstandard.ZstdCompressionDict(before, dict_type=zstandard.DICT_TYPE_RAWCONTENT)
    return zstandard.ZstdCompressor(level=_LEVEL, dict_data=dictionary).compress(after)


def decode_delta(delta: PageDelta, before: bytes | None) -> bytes:
    """The page after the step; Damage unless it is exactly one page long."""
    try:
        if before is None:
            decompressor = zstandard.ZstdDecompressor()
        else:
            dictionary = zstandard.ZstdCompressionDict(
                before, dict_type=zstandard.DICT_TYPE_RAWCONTENT)
            decompressor = zstandard.ZstdDecompressor(dict_data=dictionary)
        if zstandard.frame_content_size(delta.data) != BLOCK_LEN:
            raise Damage(f"delta of page {delta.page} has a wrong length")
        after = decompressor.decompress(delta.data, max_output_size=BLOCK_LEN)
    except zstandard.ZstdError as error:
        raise Damage(f"delta of page {delta.page} does not apply: {error}") from error
    if len(after) != BLOCK_LEN:
        raise Damage(f"delta of page {delta.page} has a wrong length")
    return after
