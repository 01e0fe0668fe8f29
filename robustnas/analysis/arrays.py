"""α histories as arrays: the shapes and containers in which other tools keep them, in npz and PyTorch files."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from robustnas.analysis.history import Array
from robustnas.runtime.safe_files import MAX_BYTES, load_checkpoint, read_arrays
from robustnas.runtime.text_files import read_bytes
from robustnas.spaces import SearchSpace

FORMS = (
    "arrays [epochs, edges, operations] by kind of cell or in the order of the kinds, or for each epoch one array "
    "[edges, operations] of each kind"
)
WHOLE = ("alpha", "alphas", "arch_parameters", "arch_params")  # names under which all of α is kept together
VALUES = 100_000  # containers and arrays in a file, each counted as often as it is named
_EPOCH = re.compile(r"(?:epoch_?)?(\d{1,9})(?:/(\w+))?")

Alphas = dict[int, dict[str, Array]]


def read_npz(path: Path, space: SearchSpace) -> tuple[Alphas, list[str]]:
    """Read α from an npz file: epoch to α by kind of cell, and names of what is left out."""
    try:
        arrays = read_arrays(read_bytes(path))
    except Exception as error:  # a damaged archive fails in any of a dozen ways
        if str(error).startswith("Expected "):
            raise
        reason = " ".join(str(error).split()) or type(error).__name__
        raise ValueError(f"Expected {path} to hold arrays, but reading it fails: {reason}") from error
    return _checked(arrays, space, path)


def read_torch(path: Path, space: SearchSpace) -> tuple[Alphas, list[str]]:
    """Read α from a file of ``torch.save``, tensors and plain containers alone; see :func:`read_npz`."""
    read_bytes(path)  # refuses what is missing or too large, in a sentence
    try:
        content = _plain(load_checkpoint(path))
    except Exception as error:  # a damaged file fails in any of a dozen ways
        reason = " ".join((str(error) or repr(error)).split())[:200].rstrip(".")
        sentence = f"Expected {path} to hold tensors in dicts and lists, but reading it fails: {reason}."
        raise ValueError(sentence) from error
    return _checked(content, space, path)


def _checked(content: Any, space: SearchSpace, path: Path) -> tuple[Alphas, list[str]]:
    try:
        return _by_epoch(content, space)
    except (ValueError, RecursionError) as error:
        kinds, got = " and ".join(space.cells), error if isinstance(error, ValueError) else "what nests too deeply"
        raise ValueError(f"Expected {path} to hold α of {kinds} as {FORMS}, but got {got}.") from error


def _plain(content: Any) -> Any:
    """Tensors as arrays, and lists of numbers too; other values as they are."""
    import torch

    count = 0

    def walk(value: Any) -> Any:
        nonlocal count
        count += 1
        if count > VALUES:
            raise ValueError(f"it holds more than {VALUES:,} values")
        if isinstance(value, torch.Tensor):
            if value.numel() * 8 > MAX_BYTES:
                raise ValueError(f"a tensor of shape {list(value.shape)} is larger than any history")
            return value.detach().to(torch.float64).numpy()
        if isinstance(value, Mapping):
            return {key: walk(part) for key, part in value.items()}
        if isinstance(value, (list, tuple)):
            numbers = bool(value) and all(isinstance(part, (int, float)) for part in value)
            return np.asarray(value, dtype=float) if numbers else [walk(part) for part in value]
        return value

    return walk(content)


def _by_epoch(content: Any, space: SearchSpace) -> tuple[Alphas, list[str]]:
    """Epoch to α by kind of cell, from whatever holds it, and names of what is left out."""
    if isinstance(content, Mapping):
        return _of_mapping(content, space)
    count, depth = len(space.cells), _depth(content)
    if count == 1 and depth in (2, 3):
        content, depth = [content], depth + 1
    if isinstance(content, list) and content and all(isinstance(part, Mapping) for part in content):
        return _of_epochs(dict(enumerate(content)), space)
    by_kind = depth in (3, 4) and len(content) == count
    by_epoch = depth == 4 and all(len(part) == count for part in content)
    if by_kind and by_epoch and count > 1:
        which = f"{count} times {count} arrays"
        raise ValueError(f"{which}, of which kinds and epochs cannot be told apart; name the kinds")
    if by_kind:
        return _of_mapping(dict(zip(space.cells, content, strict=True)), space)
    if by_epoch:
        return _of_epochs(dict(enumerate(content)), space)
    raise ValueError(_described(content))


def _of_mapping(content: Mapping[Any, Any], space: SearchSpace) -> tuple[Alphas, list[str]]:
    kinds = _kinds(content, space)
    named = {name: _EPOCH.fullmatch(str(name)) for name in content}
    whole = [name for name in content if name in WHOLE]
    if kinds:
        alphas: Alphas = {}
        for kind, name in kinds.items():
            if (depth := _depth(content[name])) not in (2, 3):
                raise ValueError(f"{name!r} of {_described(content[name])}")
            for epoch, values in enumerate(content[name] if depth == 3 else [content[name]]):
                alphas.setdefault(epoch, {})[kind] = np.asarray(values)
        return alphas, [str(name) for name in content if name not in kinds.values()]
    if any(named.values()):
        return _of_epochs(_epochs(content, named), space, [str(name) for name, found in named.items() if not found])
    if content and all(re.fullmatch(r"arr_\d+", str(name)) for name in content):  # of np.savez(path, *arrays)
        ordered = sorted(content, key=lambda name: int(name.removeprefix("arr_")))
        return _by_epoch([content[name] for name in ordered], space)
    if len(whole) == 1:
        alphas, left = _by_epoch(content[whole[0]], space)
        return alphas, [*left, *(str(name) for name in content if name != whole[0])]
    if not content:
        return {}, []
    raise ValueError(f"the names {', '.join(map(str, list(content)[:6]))}")


def _epochs(content: Mapping[Any, Any], named: Mapping[Any, re.Match[str] | None]) -> dict[int, Any]:
    """What stands under the names of epochs, such as ``7``, ``epoch_7`` or ``epoch_0007/normal``."""
    epochs: dict[int, Any] = {}
    for name, found in named.items():
        if not found:
            continue
        epoch, kind = int(found[1]), found[2]
        held: Any = epochs.setdefault(epoch, {}) if kind else epochs
        place: Any = kind or epoch
        if not isinstance(held, dict) or place in held:
            raise ValueError(f"epoch {epoch} twice, the second time as {name!r}")
        held[place] = content[name]
    return epochs


def _of_epochs(content: Mapping[int, Any], space: SearchSpace, left: Sequence[str] = ()) -> tuple[Alphas, list[str]]:
    found = {epoch: _by_epoch(part, space) for epoch, part in content.items()}
    for epoch, (alphas, _) in found.items():
        if set(alphas) != {0}:
            raise ValueError(f"{len(alphas)} epochs under the name of epoch {epoch}")
    names = dict.fromkeys(name for _, more in found.values() for name in more)
    return {epoch: alphas[0] for epoch, (alphas, _) in found.items()}, [*left, *names]


def _kinds(content: Mapping[Any, Any], space: SearchSpace) -> dict[str, Any]:
    """Kind of cell to the name under which its α is kept, such as ``alphas_normal`` or ``module.alphas_normal``."""
    found: dict[str, Any] = {}
    for name in content:
        kind = re.sub(r"^_?(alphas?_)?|_alphas?$", "", str(name).rpartition(".")[2])
        if kind in found:
            raise ValueError(f"both {found[kind]!r} and {name!r}")
        if kind in space.cells:
            found[kind] = name
    return found


def _depth(value: Any) -> int:
    """Number of dimensions of nested lists and arrays; -1 where parts differ in it, or are something else."""
    if isinstance(value, np.ndarray):
        return value.ndim
    depths = {_depth(part) for part in value} if isinstance(value, list) else set()
    return depths.pop() + 1 if len(depths) == 1 and -1 not in depths else -1


def _described(value: Any) -> str:
    if isinstance(value, np.ndarray):
        return f"shape {list(value.shape)}"
    if isinstance(value, list):
        return f"a list of {len(value)}" + (f", the first of {_described(value[0])}" if value else "")
    return f"a {type(value).__name__}"
