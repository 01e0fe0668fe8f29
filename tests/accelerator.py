"""A stand-in for an accelerator on any machine: tensors that report another device and hold their numbers on the CPU.

Inside :class:`Accelerator` the device ``meta`` computes. What fails on a GPU fails here too: an operation on tensors of
both devices, scalars aside. What waits for a GPU is counted: every read of a value.
"""

from __future__ import annotations

import sys
from collections import Counter
from contextlib import ExitStack, nullcontext
from pathlib import Path
from typing import Any, Self
from unittest import mock

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_iter, tree_map_only

from robustnas import cost

DEVICE = torch.device("meta")  # not the CPU, and known to autograd without a driver
LIBRARY = Path(cost.__file__).parent
aten: Any = torch.ops.aten
READS = {aten._local_scalar_dense, aten.equal, aten.nonzero, aten.is_nonzero, aten.masked_select, aten._unique2}
MIXES = {
    aten.copy_,
    aten._to_copy,
    aten.index,
    aten.index_put,
    aten.index_put_,
    aten._index_put_impl_,
}  # torch allows it


class Far(Tensor):
    """A tensor on the accelerator.

    Attributes:
        held: Its numbers.
    """

    held: Tensor

    @staticmethod
    def __new__(cls, held: Tensor) -> Far:
        found: Far = torch.Tensor._make_wrapper_subclass(
            cls, held.size(), held.stride(), held.storage_offset(), dtype=held.dtype, device=DEVICE
        )
        found.held = held
        return found

    def __getitem__(self, index: Any) -> Tensor:
        """Lists become tensors, which the device ``meta`` would make without numbers."""
        return super().__getitem__(_indices(index))

    def __setitem__(self, index: Any, value: Any) -> None:
        super().__setitem__(_indices(index), value)

    def tolist(self) -> Any:
        """Torch refuses subclasses."""
        return self.cpu().tolist()

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        raise AssertionError(f"{func} was called outside of the accelerator.")


class Accelerator(TorchDispatchMode):
    """Computes on the device ``meta``.

    Attributes:
        reads: Reads of values, each by the file of the library and the function that waits for it.
    """

    def __init__(self) -> None:
        super().__init__()
        self.reads: Counter[str] = Counter()
        self._patches = ExitStack()

    def __enter__(self) -> Self:
        for name, off in (
            ("is_autocast_enabled", False),
            ("get_autocast_dtype", torch.bfloat16),
            ("autocast", nullcontext()),
        ):
            self._patches.enter_context(mock.patch.object(torch, name, _without_meta(getattr(torch, name), off)))
        super().__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        super().__exit__(*error)
        self._patches.close()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = dict(kwargs or {})
        tensors = [one for one in tree_iter((args, kwargs)) if isinstance(one, Tensor)]
        far = [one for one in tensors if isinstance(one, Far)]
        target = kwargs.get("device")
        assert all(isinstance(one, Far) or not one.is_meta for one in tensors), (
            f"{func} got numbers lost in {_place()}."
        )
        if far and func.overloadpacket not in MIXES:
            near = [one for one in tensors if not isinstance(one, Far) and one.dim()]
            assert not near, f"{func} got tensors of two devices in {_place()}."
        copied = func.overloadpacket is aten.copy_ and isinstance(args[1], Far) and not isinstance(args[0], Far)
        brought = func.overloadpacket is aten._to_copy and far and target is not None and target.type == "cpu"
        if (far and func.overloadpacket in READS) or brought or copied:
            self.reads[_place()] += 1
        there = bool(far) if target is None else target.type == DEVICE.type
        if target is not None:
            kwargs["device"] = torch.device("cpu")
        given, named = tree_map_only(Far, lambda one: one.held, (args, kwargs))
        found = func(*given, **named)
        if copied:
            return args[0]
        known = {id(one.held): one for one in far}
        return (
            tree_map_only(Tensor, lambda one: known[id(one)] if id(one) in known else Far(one), found)
            if there
            else found
        )


def _indices(index: Any) -> Any:
    if isinstance(index, tuple):
        return tuple(map(_indices, index))
    return torch.tensor(index, dtype=torch.long) if isinstance(index, list) else index


def _without_meta(function: Any, off: Any) -> Any:
    """A function of autocast, which the device ``meta`` does not know."""

    def call(*given: Any, **named: Any) -> Any:
        return off if given[:1] == (DEVICE.type,) else function(*given, **named)

    return call


def _place() -> str:
    """The file and function of the library that calls torch."""
    frame: Any = sys._getframe(1)
    while frame is not None:
        path = Path(frame.f_code.co_filename)
        if path.is_relative_to(LIBRARY):
            return f"{path.relative_to(LIBRARY)}: {frame.f_code.co_name}"
        frame = frame.f_back
    return "a test"
