"""Cells computed as the papers write them, by torch's own functions; only the layout of the weights is shared."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.func import functional_call

from robustnas.networks import Mixture, Supernet
from robustnas.networks.bundle import State
from robustnas.networks.cell import Cell, EdgeOperation
from robustnas.networks.mobile import Block
from robustnas.networks.modules import Modules
from robustnas.networks.operations import build_operation

EPSILON = 1e-5  # of BatchNorm


@contextmanager
def edge_by_edge(supernet: Supernet, mixtures: Mapping[str, Mixture]) -> Iterator[None]:
    """Within the context, compute the cells of a supernet edge by edge at these mixtures; noise is zero."""
    kinds = {id(cell): kind for kind, cell in supernet.space.cells.items()}
    changed: list[Any] = []
    for module in supernet.modules():
        if isinstance(module, Cell):
            module.forward = partial(_cell, module, mixtures[kinds[id(module.space)]])  # type: ignore[method-assign]
        elif isinstance(module, Block):
            module.forward = partial(_block, module, mixtures["chain"])  # type: ignore[method-assign]
        else:
            continue
        changed.append(module)
    try:
        yield
    finally:
        for module in changed:
            del module.forward


def _cell(cell: Cell, mixture: Mixture, inputs: Sequence[Tensor], weights: object, drop_path: float) -> Tensor:
    """The output of a cell, without drop path."""
    states = list(inputs)
    if cell.preprocessed:
        states = [cell.get_submodule(f"pre{k}")(State(x), (0,), None) for k, x in enumerate(inputs)]
    for node in cell.space.nodes:
        arriving = []
        for row, edge in enumerate(cell.space.edges):
            if edge.node != node:
                continue
            stride = 2 if cell.space.reduction and edge.source < cell.space.inputs else 1
            entering, bypass = cell.connection.split(states[edge.source], stride)
            mixed = _mixed(cell.stacked, mixture, row, entering)
            if mixed is None:
                mixed = torch.zeros_like(entering[..., ::stride, ::stride])
            arriving.append(_weighed(cell.connection.join(_offset(mixed, mixture, row), bypass), mixture, row))
        states.append(torch.stack(arriving).sum(0))
    return torch.cat([states[node] for node in cell.space.outputs], dim=1)


def _block(block: Block, mixture: Mixture, inputs: Sequence[Tensor], weights: object, drop_path: float) -> Tensor:
    """The output of a mobile block, which is one edge, without drop path."""
    (images,), (row,) = inputs, block.rows
    mixed = _mixed(block.bundles, mixture, row, images)
    if mixed is None:
        height, width = (-(-size // block.stride) for size in images.shape[-2:])
        mixed = images.new_zeros(len(images), block.after, height, width)
    output = _weighed(_offset(mixed, mixture, row), mixture, row)
    return images + output if block.residual else output


def _mixed(bundles: Sequence[EdgeOperation], mixture: Mixture, row: int, images: Tensor) -> Tensor | None:
    """The weighted sum of an edge's operations, and of what is added; ``None`` if it has only `none`."""
    beside = mixture.auxiliary if mixture.active is None or bool(mixture.active[row].any()) else 0.0
    terms = [
        (beside if candidate.operation == "auxiliary" else mixture.operations[row, candidate.column])
        * single_operation(leaving, position, images)
        for leaving in bundles
        for position, candidate in enumerate(leaving.candidates)
        if candidate.row == row
    ]
    return torch.stack(terms).sum(0) if terms else None


def _offset(mixed: Tensor, mixture: Mixture, row: int) -> Tensor:
    return mixed if mixture.offsets is None else mixed + mixture.offsets[row]


def _weighed(output: Tensor, mixture: Mixture, row: int) -> Tensor:
    return output if mixture.edges is None else mixture.edges[row] * output


def single_operation(leaving: EdgeOperation, position: int, images: Tensor) -> Tensor:
    """The output of the operation at one position of a bundle, ``[batch, channels, h / stride, w / stride]``."""
    operation = leaving.operation
    by_batch = operation.training or any(getattr(part, "batch_statistics", False) for part in operation.modules())
    stacked: dict[str, Tensor] = {}
    named: dict[str, Tensor] = {}
    buffers = ((name, tensor.clone()) for name, tensor in operation.named_buffers())
    for name, tensor in (*operation.named_parameters(), *buffers):
        if (place := operation.edgewise(name, position)) is not None:
            stacked[name] = named[place[0]] = tensor if place[1] is None else tensor[place[1]]
    if isinstance(operation, Modules):
        return operation.outputs(images, (position,))[0]
    family, _, size = leaving.name.rpartition("_")
    if leaving.name == "noise":
        return torch.zeros_like(images[..., :: operation.bundle.stride, :: operation.bundle.stride])
    if (compute := _REFERENCES.get(leaving.name, _REFERENCES.get(family))) is not None:
        stride, kernel = operation.bundle.stride, int(re.match(r"\d*", size)[0] or 0)  # type: ignore[index]
        return compute(images, named, by_batch, stride, kernel)
    single = build_operation(leaving.name, replace(operation.bundle, edges=1, convolution="separable")).to(
        images.device
    )
    given = {name: tensor[None] for name, tensor in stacked.items()}
    output: Tensor = functional_call(single.train(by_batch), given, (State(images), (0,), None))
    return output


Named = Mapping[str, Tensor]


def _norm(x: Tensor, named: Named, name: str, by_batch: bool) -> Tensor:
    mean, var = (None, None) if by_batch else (named[f"{name}.running_mean"], named[f"{name}.running_var"])
    return F.batch_norm(
        x, mean, var, named.get(f"{name}.weight"), named.get(f"{name}.bias"), training=by_batch, eps=EPSILON
    )


def _separable(x: Tensor, named: Named, number: str, stride: int, kernel: int, dilation: int = 1) -> Tensor:
    padding = dilation * (kernel // 2)
    x = F.conv2d(F.relu(x), named[f"dw{number}"], None, stride, padding, dilation, groups=x.shape[1])
    return F.conv2d(x, named[f"pw{number}"])


def _sep_conv(x: Tensor, named: Named, by_batch: bool, stride: int, kernel: int) -> Tensor:
    x = _norm(_separable(x, named, "1", stride, kernel), named, "bn1", by_batch)
    return _norm(_separable(x, named, "2", 1, kernel), named, "bn2", by_batch)


def _dil_conv(x: Tensor, named: Named, by_batch: bool, stride: int, kernel: int) -> Tensor:
    return _norm(_separable(x, named, "", stride, kernel, dilation=2), named, "bn", by_batch)


def _conv(x: Tensor, named: Named, by_batch: bool, stride: int, kernel: int) -> Tensor:
    x = F.relu(x)
    if kernel == 1:  # torch's strided 1 x 1 convolution is faulty on some CPUs: docs/guides/precision.md
        x, stride = x[..., ::stride, ::stride], 1
    return _norm(F.conv2d(x, named["conv"], None, stride, kernel // 2), named, "bn", by_batch)


def _factorised_conv(x: Tensor, named: Named, by_batch: bool, stride: int, kernel: int) -> Tensor:
    x = F.conv2d(F.relu(x), named["conv1"], None, (1, stride), (0, 3))
    return _norm(F.conv2d(x, named["conv2"], None, (stride, 1), (3, 0)), named, "bn", by_batch)


def _skip(x: Tensor, named: Named, by_batch: bool, stride: int, kernel: int) -> Tensor:
    if stride == 1:
        return x
    x = F.relu(x)
    shifted = F.pad(x[..., 1::2, 1::2], (0, x.shape[-1] % 2, 0, x.shape[-2] % 2))
    halves = [F.conv2d(x[..., ::2, ::2], named["conv1"]), F.conv2d(shifted, named["conv2"])]
    return _norm(torch.cat(halves, dim=1), named, "bn", by_batch)


def _pool(pool: Callable[..., Tensor], x: Tensor, named: Named, by_batch: bool, stride: int, kernel: int) -> Tensor:
    x = pool(x, 3, stride, 1)
    return _norm(x, named, "bn", by_batch) if "bn.running_mean" in named else x


_REFERENCES: dict[str, Callable[..., Tensor]] = {
    "sep_conv": _sep_conv,
    "dil_conv": _dil_conv,
    "nor_conv": _conv,
    "conv_7x1_1x7": _factorised_conv,
    "skip_connect": _skip,
    "max_pool_3x3": partial(_pool, F.max_pool2d),
    "avg_pool_3x3": partial(_pool, partial(F.avg_pool2d, count_include_pad=False)),
}
