"""Names of weights edge by edge, such as ``cells.0.edge.0-2.sep_conv_3x3.dw1``, however they are stacked inside."""

from __future__ import annotations

from abc import ABC
from collections.abc import Iterator, Mapping
from typing import NamedTuple

import torch
from torch import Tensor, nn

from robustnas.networks.blocks import ResidualBlock
from robustnas.networks.bundle import Operation
from robustnas.networks.cell import Cell
from robustnas.networks.mobile import Block
from robustnas.networks.skeleton import Skeleton


class Slice(NamedTuple):
    """Where an edgewise tensor lies: the name of a parameter or buffer, and its index there, if it is stacked."""

    name: str
    position: int | None


def edgewise_slices(skeleton: Skeleton) -> dict[str, Slice]:
    """Edgewise name of every weight and running statistic of a network, with the place where it lies."""
    slices: dict[str, Slice] = {}
    for prefix, module in skeleton.named_modules():
        if isinstance(module, Cell | Block):
            slices.update(_of_cell(prefix, module))
        elif isinstance(module, Operation) and "." not in prefix:
            slices.update(_of_operation(module, 0, prefix, prefix))
    stacked = {slice_.name for slice_ in slices.values()}
    for name in skeleton.state_dict():
        if name not in stacked and not name.endswith("num_batches_tracked"):
            slices[_plain_name(skeleton, name)] = Slice(name, None)
    return slices


def _of_cell(prefix: str, cell: Cell | Block) -> Iterator[tuple[str, Slice]]:
    paths = {id(module): path for path, module in cell.named_modules()}
    for bundle in cell.stacked:
        for position, candidate in enumerate(bundle.candidates):
            edge = f"{prefix}.edge.{candidate.source}-{candidate.node}.{candidate.operation}"
            yield from _of_operation(bundle.operation, position, edge, f"{prefix}.{paths[id(bundle.operation)]}")
    for name, module in cell.named_children():
        if isinstance(module, Operation):
            yield from _of_operation(module, 0, f"{prefix}.{name}", f"{prefix}.{name}")


def _of_operation(operation: Operation, position: int, outside: str, inside: str) -> Iterator[tuple[str, Slice]]:
    for name in operation.state_dict():
        if (place := operation.edgewise(name, position)) is not None:
            yield f"{outside}.{place[0]}", Slice(f"{inside}.{name}", place[1])


def _plain_name(skeleton: Skeleton, name: str) -> str:
    path, _, leaf = name.rpartition(".")
    module = skeleton.get_submodule(path)
    if isinstance(module, nn.Conv2d) and leaf == "weight":
        return path
    parent, _, last = path.rpartition(".")
    if isinstance(skeleton.get_submodule(parent), ResidualBlock) and last.startswith("bn_"):
        return f"{parent}.conv_{last[-1]}.bn.{leaf}"
    return name


def write_edgewise(slices: Mapping[str, Slice], network: nn.Module, state: Mapping[str, Tensor], strict: bool) -> None:
    """Copy edgewise tensors into a network; running statistics may be left out, and weights if not ``strict``."""
    own = network.state_dict()
    parameters = {name for name, _ in network.named_parameters()}
    missing = [outside for outside, (name, _) in slices.items() if name in parameters and outside not in state]
    unknown = [outside for outside in state if outside not in slices]
    if strict and (missing or unknown):
        raise ValueError(
            f"Expected `state` to hold exactly the weights of the network, but {len(missing)} are missing "
            f"({', '.join(missing[:3])}) and {len(unknown)} are unknown ({', '.join(unknown[:3])})."
        )
    with torch.no_grad():
        for outside in state.keys() & slices.keys():
            name, index = slices[outside]
            target = own[name] if index is None else own[name][index]
            if target.shape != state[outside].shape:
                raise ValueError(
                    f"Expected `{outside}` to have the shape {tuple(target.shape)}, "
                    f"but got {tuple(state[outside].shape)}."
                )
            target.copy_(state[outside])


class Edgewise(nn.Module, ABC):
    """A network whose weights, all in ``body``, can be named edge by edge."""

    body: Skeleton

    def edgewise_state_dict(self, of: Mapping[str, Tensor] | None = None) -> dict[str, Tensor]:
        """Return weights and running statistics by names such as ``cells.0.edge.0-2.sep_conv_3x3.dw1``, as views.

        They are those of the network, or other tensors ``of`` the names of ``state_dict``, such as gradients.
        """
        tensors = self.body.state_dict() if of is None else {k.removeprefix("body."): v for k, v in of.items()}
        return {
            outside: tensors[name].detach() if index is None else tensors[name].detach()[index]
            for outside, (name, index) in edgewise_slices(self.body).items()
            if name in tensors
        }

    def load_edgewise_state_dict(self, state: Mapping[str, Tensor], strict: bool = True) -> None:
        """Load what :meth:`edgewise_state_dict` returned, or another tool exported under the same names.

        A ``ValueError`` refuses a tensor of another shape, and, if ``strict``, weights that are missing or unknown;
        running statistics may always be left out.
        """
        write_edgewise(edgewise_slices(self.body), self.body, state, strict)
