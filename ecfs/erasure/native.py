"""ISA-L, the library that does the multiplying, called through ctypes (which drops the GIL)."""

import ctypes
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from types import TracebackType

from ecfs.base.errors import Bug, EcfsError

BytesLike = bytes | bytearray | memoryview

SYSTEM_LIBRARY = "libisal.so.2"
_WHEEL_FOLDER = "pyeclib.libs"
_TABLE_LEN = 32
_SIMPLE = 0
_WRITABLE = 1


class _Buffer(ctypes.Structure):
    """Py_buffer, whose layout is part of CPython's stable ABI since 3.11."""

    _fields_ = (
        ("buf", ctypes.c_void_p),
        ("obj", ctypes.c_void_p),
        ("len", ctypes.c_ssize_t),
        ("itemsize", ctypes.c_ssize_t),
        ("readonly", ctypes.c_int),
        ("ndim", ctypes.c_int),
        ("format", ctypes.c_void_p),
        ("shape", ctypes.c_void_p),
        ("strides", ctypes.c_void_p),
        ("suboffsets", ctypes.c_void_p),
        ("internal", ctypes.c_void_p),
    )


# ctypes' own from_buffer refuses read-only buffers, which is what a verified shard is: a slice of
# the bytes that a read returned. Copying it would cost as much as decoding it.
_get_buffer = ctypes.PYFUNCTYPE(
    ctypes.c_int, ctypes.py_object, ctypes.POINTER(_Buffer), ctypes.c_int
)(("PyObject_GetBuffer", ctypes.pythonapi))
_release_buffer = ctypes.PYFUNCTYPE(None, ctypes.POINTER(_Buffer))(
    ("PyBuffer_Release", ctypes.pythonapi)
)


class Pinned:
    """Addresses of buffers, which can be neither freed nor resized until the `with` ends."""

    def __init__(self) -> None:
        self._held: list[_Buffer] = []

    def __enter__(self) -> "Pinned":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 trace: TracebackType | None) -> None:
        while self._held:
            _release_buffer(ctypes.byref(self._held.pop()))

    def address(self, data: BytesLike, length: int, *, writable: bool = False) -> int:
        """Where `data` begins; a Bug unless it is contiguous and exactly `length` bytes long."""
        view = _Buffer()
        try:
            _get_buffer(data, ctypes.byref(view), _WRITABLE if writable else _SIMPLE)
        except (BufferError, TypeError) as error:
            raise Bug(f"not a usable buffer: {error}") from error
        self._held.append(view)
        if view.len != length:
            raise Bug(f"a buffer of {view.len} bytes where {length} are needed")
        return int(view.buf)


Tables = ctypes.Array[ctypes.c_ubyte]


class Isal:
    """The two functions of ISA-L that are used."""

    def __init__(self, path: str) -> None:
        """Load the library; EcfsError when it is not there or lacks a function."""
        try:
            library = ctypes.CDLL(path)
            init, encode = library.ec_init_tables, library.ec_encode_data
        except (OSError, AttributeError) as error:
            raise EcfsError(f"cannot use {path} as ISA-L: {error}") from error
        init.argtypes = (ctypes.c_int, ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p)
        init.restype = None
        encode.argtypes = (ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_void_p,
                           ctypes.c_void_p, ctypes.c_void_p)
        encode.restype = None
        self._init = init
        self._encode = encode

    def tables(self, rows: Sequence[bytes]) -> Tables:
        """Multiplication tables for a matrix, in the layout that this machine's code wants."""
        columns_count = len(rows[0])
        tables = (ctypes.c_ubyte * (_TABLE_LEN * columns_count * len(rows)))()
        self._init(columns_count, len(rows), b"".join(rows), tables)
        return tables

    def multiply(self, tables: Tables, sources: Sequence[int], outputs: Sequence[int],
                 length: int) -> None:
        """Each output = its matrix row times the sources; addresses of `length` bytes each."""
        if len(tables) != _TABLE_LEN * len(sources) * len(outputs):
            raise Bug("tables of another shape")
        self._encode(length, len(sources), len(outputs), tables,
                     (ctypes.c_void_p * len(sources))(*sources),
                     (ctypes.c_void_p * len(outputs))(*outputs))


def library_paths() -> list[str]:
    """Where ISA-L may be: the system's own, then the copy inside the pyeclib wheel."""
    paths = [SYSTEM_LIBRARY]
    spec = find_spec("pyeclib")
    if spec is not None and spec.origin is not None:
        folder = Path(spec.origin).parent.parent / _WHEEL_FOLDER
        paths.extend(str(path) for path in sorted(folder.glob("libisal*")))
    return paths


def load_isal(paths: Sequence[str] | None = None) -> Isal:
    """The first of `paths` that loads; EcfsError naming every reason when none does."""
    reasons = []
    for path in library_paths() if paths is None else paths:
        try:
            return Isal(path)
        except EcfsError as error:
            reasons.append(str(error))
    raise EcfsError("ISA-L is missing, install the package libisal2 or the Python package "
                    "pyeclib: " + "; ".join(reasons))
