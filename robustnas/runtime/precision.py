"""Precision of float32 arithmetic.

GPUs can multiply float32 numbers with the ten bits of TF32, which is torch's default in cuDNN's convolutions, and CPUs
with the seven bits of bfloat16. That is fast and accurate enough for training steps, but not for second derivatives.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from operator import attrgetter
from typing import Any, Literal, get_args

import torch

Matmul = Literal["highest", "high", "medium"]
OPERATIONS = ("cuda.matmul", "cudnn.conv", "cudnn.rnn", "mkldnn.matmul", "mkldnn.conv")


@contextmanager
def full_precision(device: str) -> Iterator[None]:
    """Compute in the type of the tensors on a type of device: without autocast, TF32 or bfloat16 inside kernels.

    Compiled cells run uncompiled, since compiled code has no second derivative. Backward passes through a graph that
    was made inside must run inside, too. The settings belong to the process and are restored at the end.

    Yields:
        Nothing.
    """
    with ExitStack() as stack:
        for owner, name, full in _fields():
            stack.callback(setattr, owner, name, getattr(owner, name))
            setattr(owner, name, full)
        stack.enter_context(torch.autocast(device, enabled=False))
        if "torch._dynamo" in sys.modules:  # nothing is compiled before it is imported
            stack.enter_context(torch.compiler.set_stance("force_eager"))
        yield


@contextmanager
def matmul_precision(wanted: str | None) -> Iterator[None]:
    """Set the precision of float32 products and convolutions, and restore it at the end.

    ``highest`` is full precision, ``high`` is TF32 on GPUs, ``medium`` that and bfloat16 in products on CPUs. ``None``
    keeps the settings of torch: by default TF32 in convolutions on GPUs only.

    Yields:
        Nothing.

    Raises:
        ValueError: If ``wanted`` is none of these.
    """
    if wanted is None:
        yield
        return
    if wanted not in get_args(Matmul):
        raise ValueError(f"Expected `matmul_precision` to be one of {list(get_args(Matmul))}, but got {wanted!r}.")
    with ExitStack() as stack:
        stack.callback(setattr, torch.backends.cudnn, "allow_tf32", torch.backends.cudnn.allow_tf32)
        stack.callback(torch.set_float32_matmul_precision, torch.get_float32_matmul_precision())
        torch.set_float32_matmul_precision(wanted)
        torch.backends.cudnn.allow_tf32 = wanted != "highest"
        yield


def settings() -> dict[str, Any]:
    """Torch's current settings of float32 precision, by name, for the manifest of a run."""
    if _per_operation():
        return {f"{name}.fp32_precision": attrgetter(name)(torch.backends).fp32_precision for name in OPERATIONS}
    return {
        "cuda.matmul.allow_tf32": torch.backends.cuda.matmul.allow_tf32,
        "cudnn.allow_tf32": torch.backends.cudnn.allow_tf32,
        "float32_matmul_precision": torch.get_float32_matmul_precision(),
    }


def _fields() -> list[tuple[Any, str, Any]]:
    """Torch's settings that reduce float32 precision: owner, name, and the value for full precision."""
    if _per_operation():
        return [(attrgetter(name)(torch.backends), "fp32_precision", "ieee") for name in OPERATIONS]
    return [(torch.backends.cuda.matmul, "allow_tf32", False), (torch.backends.cudnn, "allow_tf32", False)]


def _per_operation() -> bool:
    """Whether torch has a setting for each kind of operation (2.9 on), which must not be mixed with the old ones."""
    return hasattr(torch.backends.cuda.matmul, "fp32_precision")
