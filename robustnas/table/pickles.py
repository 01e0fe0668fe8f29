"""Reading pickled benchmarks without executing what they may hold."""

from __future__ import annotations

import bz2
import pickle
from collections import OrderedDict
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np


def _latin(text: str, encoding: str) -> bytes:
    """Bytes, as old pickles hold them: a text, and the name of the one encoding that is looked up here."""
    if encoding != "latin1":
        raise pickle.UnpicklingError(f"it asks for the encoding {encoding!r}, which no bytes are held in")
    return text.encode("latin1")


# What a file may name: containers, and numbers of numpy under the names of its versions 1 and 2.
_MULTIARRAY: tuple[Any, Any] = np.float64(0).__reduce__()[0], np.zeros(0).__reduce__()[0]
PLAIN: Mapping[str, Callable[..., Any]] = {
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


class _Plain(pickle.Unpickler):
    """An unpickler that knows containers and numbers, and refuses whatever else a file asks for."""

    def find_class(self, module: str, name: str) -> Any:
        module = "builtins" if module == "__builtin__" else module  # as Python 2, and protocol 2, call it
        if (found := PLAIN.get(f"{module}.{name}")) is None:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}, which is no plain data, and is not loaded")
        return found


def read_pickle(path: Path) -> Any:
    """What a file of NATS-Bench holds: a pickle that is packed with bzip2.

    Args:
        path: The file.

    Returns:
        Containers, strings and numbers. Nothing else is loaded, and nothing in the file is executed.

    Raises:
        ValueError: If the file cannot be read, or holds anything else.
    """
    try:
        with bz2.open(path, "rb") as file:
            return _Plain(file).load()
    except Exception as error:  # a damaged file can raise nearly anything
        raise ValueError(_refusal(path, error)) from error


def read_checkpoint(path: Path) -> Any:
    """What a file of NAS-Bench-201 holds, written by ``torch.save``; as :func:`read_pickle`.

    Args:
        path: The file.

    Returns:
        Containers, strings, numbers and tensors.

    Raises:
        ValueError: If the file cannot be read, or holds anything else.
    """
    import torch

    kinds = [type(np.dtype(kind)) for kind in (np.float16, np.float32, np.float64, np.int32, np.int64, np.bool_)]
    allowed: list[Any] = [*kinds, *((found, name) for name, found in PLAIN.items())]
    try:
        with torch.serialization.safe_globals(allowed):
            return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # as above
        raise ValueError(_refusal(path, error)) from error


def _refusal(path: Path, error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    asked = [line for line in lines if "Unsupported" in line or "GLOBAL" in line] or lines
    reason = getattr(error, "strerror", None) or f"{type(error).__name__}: {asked[0] if asked else 'no reason given'}"
    return f"Expected {path} to hold a benchmark as plain data, but reading it fails: {reason}"
