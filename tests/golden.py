"""Values computed by the original implementations; tests that need them are skipped where they are missing."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from robustnas.spaces import Genotype

FOLDER = Path(__file__).resolve().parents[1] / "../shared/golden"

Case = tuple[dict[str, Any], dict[str, Any]]


@cache
def _load(path: Path) -> Case:
    with np.load(path) as file:
        arrays = {name: file[name] for name in file.files}
    meta = json.loads(str(arrays.pop("meta")))
    texts = {name for name, array in arrays.items() if array.dtype.kind == "U"}
    return {name: _text(str(a)) if name in texts else torch.from_numpy(a) for name, a in arrays.items()}, meta


def _text(text: str) -> Any:
    """What a text says: JSON, or itself where it is none, such as the string of a NAS-Bench-201 cell."""
    return text if text.startswith("|") else json.loads(text)


def golden(name: str) -> Case:
    """The arrays of a case, as tensors or read from JSON, and its description.

    The tensors are shared between tests: clone one before changing it.
    """
    path = FOLDER / f"{name}.npz"
    if not path.exists():
        pytest.skip(f"no reference values: {name}.npz is not in ../shared/golden")
    arrays, meta = _load(path)
    return dict(arrays), meta


def part(arrays: dict[str, Any], prefix: str) -> dict[str, Any]:
    """The arrays whose names start with ``prefix``, without it."""
    return {name.removeprefix(prefix): array for name, array in arrays.items() if name.startswith(prefix)}


def listing(genotype: Genotype) -> dict[str, Any]:
    """A genotype of normal and reduction cells as the original lists it, in the types of JSON."""
    form: dict[str, Any] = {}
    for kind in ("normal", "reduce"):
        form[kind] = [[choice.operation, choice.source] for choice in genotype.cells[kind]]
        form[f"{kind}_concat"] = sorted({choice.node for choice in genotype.cells[kind]})
    return form


def tolerance(meta: dict[str, Any], name: str) -> dict[str, float]:
    """``rtol`` and ``atol`` that the case gives for one of its results, or for ``gradients``."""
    return dict(meta["tolerances"].get(name) or meta["tolerances"]["out/logits"])


def check(actual: Tensor, expected: Tensor, rtol: float = 1e-9, atol: float = 1e-10) -> None:
    """Fail unless ``|actual - expected| <= atol + rtol |expected|`` in every entry of two tensors of one shape."""
    torch.testing.assert_close(actual.detach(), expected.to(actual.device), rtol=rtol, atol=atol)
