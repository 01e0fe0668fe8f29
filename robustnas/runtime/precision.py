"""Precision of float32 arithmetic: where hardware and autocast may shorten numbers, and where they must not.

GPUs can multiply float32 numbers with the ten bits of TF32, which torch does in cuDNN's convolutions unless told
otherwise; CPUs can with the seven bits of bfloat16. That is fast, and wanted in ordinary steps, but too coarse for
second derivatives.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, Literal, get_args

import torch

Matmul = Literal["highest", "high", "medium"]


@contextmanager
def full_precision(device: str) -> Iterator[None]:
    """Compute in the type that the tensors have: no autocast, no TF32, nothing shortened inside a kernel.

    Cells compiled by ``torch.compile`` run uncompiled, since compiled code cannot be derived twice. Backward passes
    through a graph that was made inside must be run inside, too.

    Args:
        device: Type of the device, such as ``cuda``.

    Yields:
        Nothing. The settings before, which hold for the whole process, are put back.
    """
    fields = _fields()
    before = [getattr(owner, name) for owner, name, _ in fields]
    try:
        for owner, name, full in fields:
            setattr(owner, name, full)
        with ExitStack() as stack:
            stack.enter_context(torch.autocast(device, enabled=False))
            if "torch._dynamo" in sys.modules:  # otherwise nothing can have been compiled
                stack.enter_context(torch.compiler.set_stance("force_eager"))
            yield
    finally:
        for (owner, name, _), value in zip(fields, before, strict=True):
            setattr(owner, name, value)


@contextmanager
def matmul_precision(wanted: str | None) -> Iterator[None]:
    """Say how much products and convolutions of float32 numbers may be shortened, for a while.

    Args:
        wanted: ``highest`` for not at all, ``high`` for TF32 on GPUs, ``medium`` for that, and bfloat16 in products on
            CPUs. ``None`` leaves torch as it is: by default TF32 in convolutions on GPUs, nothing else shortened.

    Yields:
        Nothing.

    Raises:
        ValueError: If the word is none of these.
    """
    if wanted is None:
        yield
        return
    if wanted not in get_args(Matmul):
        raise ValueError(f"Expected `matmul_precision` to be one of {list(get_args(Matmul))}, but got {wanted!r}.")
    before = torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32
    try:
        torch.set_float32_matmul_precision(wanted)
        torch.backends.cudnn.allow_tf32 = wanted != "highest"
        yield
    finally:
        torch.set_float32_matmul_precision(before[0])
        torch.backends.cudnn.allow_tf32 = before[1]


def settings() -> dict[str, Any]:
    """How float32 numbers are multiplied at present, for the manifest of a run: each setting by its name in torch."""
    names = ("cuda.matmul", "cudnn.conv", "cudnn.rnn", "mkldnn.matmul", "mkldnn.conv")
    if _new():
        return {f"{name}.fp32_precision": _owner(name).fp32_precision for name in names}
    return {
        "cuda.matmul.allow_tf32": torch.backends.cuda.matmul.allow_tf32,
        "cudnn.allow_tf32": torch.backends.cudnn.allow_tf32,
        "float32_matmul_precision": torch.get_float32_matmul_precision(),
    }


def _fields() -> list[tuple[Any, str, Any]]:
    """Settings of torch that shorten float32 numbers: whose they are, their names, and the value that does not."""
    if _new():
        names = ("cuda.matmul", "cudnn.conv", "cudnn.rnn", "mkldnn.matmul", "mkldnn.conv")
        return [(_owner(name), "fp32_precision", "ieee") for name in names]
    return [(torch.backends.cuda.matmul, "allow_tf32", False), (torch.backends.cudnn, "allow_tf32", False)]


def _new() -> bool:
    """Whether torch, from 2.9 on, has a setting for each kind of operation, which it wants not to be mixed with old."""
    return hasattr(torch.backends.cuda.matmul, "fp32_precision")


def _owner(name: str) -> Any:
    found: Any = torch.backends
    for part in name.split("."):
        found = getattr(found, part)
    return found
