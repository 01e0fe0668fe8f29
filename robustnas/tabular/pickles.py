"""Read pickled benchmarks without executing their content."""

from __future__ import annotations

import bz2
import pickle
from collections import OrderedDict
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from robustnas.runtime.safe_files import check_archive


def _latin(text: str, encoding: str) -> bytes:
    """Encode a text as latin1, the encoding in which old pickles store bytes."""
    if encoding != "latin1":
        raise pickle.UnpicklingError(f"it requests the encoding {encoding!r}, but only latin1 is allowed")
    return text.encode("latin1")


# Allowed globals: containers, and numpy's numbers under their names in versions 1 and 2.
_MULTIARRAY: tuple[Any, Any] = np.float64(0).__reduce__()[0], np.zeros(0).__reduce__()[0]
ALLOWED: Mapping[str, Callable[..., Any]] = {
    "collections.OrderedDict": OrderedDict,
    "builtins.set": set,
    "builtins.frozenset": frozenset,
    "_codecs.encode": _latin,
    "numpy.dtype": np.dtype,
    "numpy.ndarray": np.ndarray,
    "numpy.core.multiarray.scalar": _MULTIARRAY[0],
    "numpy._core.multiarray.scalar": _MULTIARRAY[0],
    "numpy.core.multiarray._reconstruct": _MULTIARRAY[1],
    "numpy._core.multiarray._reconstruct": _MULTIARRAY[1],
}

MIN_LIMIT, MAX_RATIO = 2**28, 500  # bytes that are always allowed; the largest compression ratio of bzip2 on text


class _Bounded:
    """A compressed file that raises if it decompresses to more than a limit."""

    def __init__(self, file: bz2.BZ2File, limit: int) -> None:
        self._file, self._left = file, limit

    def read(self, size: int = -1) -> bytes:
        return self._counted(self._file.read(self._left + 1 if size < 0 else min(size, self._left + 1)))

    def readline(self) -> bytes:
        return self._counted(self._file.readline(self._left + 1))

    def peek(self, size: int) -> bytes:
        return self._file.peek(size)  # else the unpickler reads single bytes

    def _counted(self, data: bytes) -> bytes:
        self._left -= len(data)
        if self._left < 0:
            raise pickle.UnpicklingError("it decompresses to far more than a benchmark")
        return data


class _SafeUnpickler(pickle.Unpickler):
    """An unpickler that loads containers and numbers, and refuses all other classes."""

    def find_class(self, module: str, name: str) -> Any:
        module = "builtins" if module == "__builtin__" else module  # its name in Python 2 and protocol 2
        if (found := ALLOWED.get(f"{module}.{name}")) is None:
            raise pickle.UnpicklingError(f"it requests {module}.{name}, which is not plain data")
        return found


def read_pickle(path: Path) -> Any:
    """The content of a file of NATS-Bench, a pickle in bzip2: containers, strings and numbers, and nothing else."""
    try:
        with bz2.open(path, "rb") as file:
            packed = path.stat().st_size
            return _SafeUnpickler(_Bounded(file, max(MIN_LIMIT, MAX_RATIO * packed))).load()
    except Exception as error:  # a damaged file can raise nearly anything
        raise ValueError(_refusal(path, error)) from error


def read_checkpoint(path: Path) -> Any:
    """The content of a file of NAS-Bench-201, by ``torch.save``: as :func:`read_pickle`, and tensors."""
    import torch

    kinds = [type(np.dtype(kind)) for kind in (np.float16, np.float32, np.float64, np.int32, np.int64, np.bool_)]
    allowed: list[Any] = [*kinds, *((found, name) for name, found in ALLOWED.items())]
    try:
        check_archive(path)
        with torch.serialization.safe_globals(allowed):
            return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # as above
        raise ValueError(_refusal(path, error)) from error


def _refusal(path: Path, error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    asked = [line for line in lines if "Unsupported" in line or "GLOBAL" in line] or lines
    reason = getattr(error, "strerror", None) or f"{type(error).__name__}: {asked[0] if asked else 'no reason given'}"
    return f"Expected {path} to hold a benchmark as plain data, but reading it fails: {reason}"
