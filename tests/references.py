"""Slow, obvious networks: every operation of every edge is a module of its own, as in the original DARTS code.

Written from the papers and the descriptions of the originals alone, so that agreement with `robustnas.networks`,
which shares and stacks work, means something.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import torch
from reference_operations import AuxiliaryHead, FactorizedReduce, ReLUConvBN, ResidualBlock, conv, drop_path, operation
from torch import Tensor, nn

from robustnas.spaces import CellSpace, Genotype, SearchSpace


class Cell(nn.Module):
    """One cell, of the supernet or discrete. ``self.edge["0-2"]["skip_connect"]`` is the module of that name.

    Args:
        space: The kind of cell.
        operations: Edges and the names of the operations they carry.
        sizes: Channels of the two cells before and of this one.
        reduction_before: Whether the cell before is a reduction cell.
        affine: Whether batch normalisation has a scale and a shift.
        pooling_bn: Whether a batch normalisation follows a pooling.
    """

    def __init__(
        self,
        space: CellSpace,
        operations: Iterable[tuple[int, int, tuple[str, ...]]],
        sizes: tuple[int, int, int],
        reduction_before: bool,
        affine: bool,
        pooling_bn: bool,
    ) -> None:
        super().__init__()
        self.space = space
        c_before, c_last, c = sizes
        if space.inputs == 2:
            before = FactorizedReduce(c_before, c, affine) if reduction_before else ReLUConvBN(c_before, c, 1, affine)
            self.pre0 = before
            self.pre1 = ReLUConvBN(c_last, c, 1, affine)
        self.edge = nn.ModuleDict()
        for source, node, names in operations:
            stride = 2 if space.reduction and source < space.inputs else 1
            made = {name: operation(name, c, stride, affine, pooling_bn) for name in names}
            if f"{source}-{node}" not in self.edge:
                self.edge[f"{source}-{node}"] = nn.ModuleDict()
            self.edge[f"{source}-{node}"].update(made)

    def forward(self, states: list[Tensor], mixture: Tensor | None, probability: float) -> Tensor:
        """Without a mixture, a discrete cell: all its operations are summed."""
        states = [self.pre0(states[0]), self.pre1(states[1])] if self.space.inputs == 2 else states[-1:]
        for node in self.space.nodes:
            total = None
            for row, (name, operations) in enumerate(self.edge.items()):
                source, target = map(int, name.split("-"))
                if target != node:
                    continue
                if mixture is None:
                    value = self.discrete_edge(operations, states[source], probability)
                else:
                    value = sum(
                        mixture[row, k] * module(states[source]) for k, module in enumerate(operations.values())
                    )
                    if probability > 0 and self.training:
                        value = drop_path(value, probability)
                total = value if total is None else total + value
            states.append(total)
        return torch.cat([states[node] for node in self.space.outputs], dim=1)

    def discrete_edge(self, operations: nn.ModuleDict, x: Tensor, probability: float) -> Tensor:
        values = []
        for module in operations.values():
            value = module(x)
            if probability > 0 and self.training and not isinstance(module, nn.Identity):
                value = drop_path(value, probability)
            values.append(value)
        return sum(values)


class Reference(nn.Module):
    """What the supernet and the discrete network share: the skeleton and the names of the weights."""

    def __init__(self, space: SearchSpace, channels: int, layers: int, cells: int, classes: int, image: int) -> None:
        super().__init__()
        self.space = space
        c = 3 * channels if "normal" in space.cells else channels
        self.stem = nn.ModuleDict({"conv": conv(image, c, 3), "bn": nn.BatchNorm2d(c)})
        self.cells, self.res = nn.ModuleDict(), nn.ModuleDict()
        self.kinds: list[str] = []
        if "normal" in space.cells:
            c = self.stack_darts(c, channels, layers)
        else:
            c = self.stack_nasbench201(channels, cells)
            self.lastact = nn.ModuleDict({"bn": nn.BatchNorm2d(c)})
        self.classifier = nn.Linear(c, classes)

    def make_cell(self, kind: str, sizes: tuple[int, int, int], reduction_before: bool) -> Cell:
        raise NotImplementedError

    def stack_darts(self, c_stem: int, channels: int, layers: int) -> int:
        c_before, c_last, c, reduction_before = c_stem, c_stem, channels, False
        for k in range(layers):
            reduction = "reduce" in self.space.cells and k in (layers // 3, 2 * layers // 3)
            c = 2 * c if reduction else c
            kind = "reduce" if reduction else "normal"
            self.kinds.append(kind)
            self.cells[str(k)] = self.make_cell(kind, (c_before, c_last, c), reduction_before)
            c_before, c_last = c_last, c * len(self.space.cells[kind].outputs)
            reduction_before = reduction
        return c_last

    def stack_nasbench201(self, channels: int, cells: int) -> int:
        self.kinds = ["cell"] * cells + ["res"] + ["cell"] * cells + ["res"] + ["cell"] * cells
        c = channels
        for k, kind in enumerate(self.kinds):
            if kind == "res":
                self.res[str(k)] = ResidualBlock(c, 2 * c)
                c = 2 * c
            else:
                self.cells[str(k)] = self.make_cell(kind, (c, c, c), False)
        return c

    def run(
        self, images: Tensor, mixtures: Mapping[str, Tensor] | None, probability: float
    ) -> tuple[Tensor, list[Tensor]]:
        """Pooled features ``[batch, channels]`` and the output of every layer."""
        x = self.stem["bn"](self.stem["conv"](images))
        states = [x, x]
        for k, kind in enumerate(self.kinds):
            if kind == "res":
                states.append(self.res[str(k)](states[-1]))
            else:
                mixture = None if mixtures is None else mixtures[kind]
                states.append(self.cells[str(k)](states[-2:], mixture, probability))
        last = torch.relu(self.lastact["bn"](states[-1])) if self.space.skeleton == "nasbench201" else states[-1]
        return last.mean(dim=(2, 3)), states[2:]

    def edgewise_state_dict(self) -> dict[str, nn.Parameter]:
        """The live parameters under the names of golden/README.md."""
        named = {}
        for prefix, module in self.named_modules():
            for name, parameter in module.named_parameters(recurse=False):
                layer = prefix.replace("_a_bn", "_a.bn").replace("_b_bn", "_b.bn")
                named[layer if isinstance(module, nn.Conv2d) else f"{layer}.{name}"] = parameter
        return named

    def load_edgewise_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Copy values in; biases of convolutions, which have none here, are left out."""
        mine = self.edgewise_state_dict()
        given = {name for name in state if name in mine or name.removesuffix(".bias") not in mine}
        if given != set(mine):
            raise ValueError(f"Expected the names of the network, but these differ: {sorted(given ^ set(mine))}.")
        with torch.no_grad():
            for name, parameter in mine.items():
                assert parameter.shape == state[name].shape, name
                parameter.copy_(state[name])


class ReferenceSupernet(Reference):
    """Supernet of a space. ``layers`` is for the DARTS skeleton, ``cells`` (per stage) for NAS-Bench-201."""

    def __init__(
        self,
        space: SearchSpace,
        channels: int,
        layers: int = 8,
        cells: int = 5,
        num_classes: int = 10,
        image_channels: int = 3,
    ) -> None:
        super().__init__(space, channels, layers, cells, num_classes, image_channels)

    def make_cell(self, kind: str, sizes: tuple[int, int, int], reduction_before: bool) -> Cell:
        cell = self.space.cells[kind]
        operations = [(edge.source, edge.node, edge.operations) for edge in cell.edges]
        return Cell(cell, operations, sizes, reduction_before, False, "normal" in self.space.cells)

    def features(self, images: Tensor, mixtures: Mapping[str, Tensor], drop_path: float = 0.0) -> Tensor:
        return self.run(images, mixtures, drop_path)[0]

    def forward(self, images: Tensor, mixtures: Mapping[str, Tensor], drop_path: float = 0.0) -> Tensor:
        return self.classifier(self.features(images, mixtures, drop_path))


class ReferenceDiscrete(Reference):
    """Evaluation network of a genotype. With ``auxiliary``, training returns a second pair of logits."""

    def __init__(
        self,
        space: SearchSpace,
        genotype: Genotype,
        channels: int,
        layers: int = 20,
        cells: int = 5,
        num_classes: int = 10,
        image_channels: int = 3,
        auxiliary: bool = False,
    ) -> None:
        self.genotype = genotype
        super().__init__(space, channels, layers, cells, num_classes, image_channels)
        self.auxiliary_layer = 2 * layers // 3
        if auxiliary:
            self.auxiliary = AuxiliaryHead(channels * 4 * len(space.cells["reduce"].outputs), num_classes)

    def make_cell(self, kind: str, sizes: tuple[int, int, int], reduction_before: bool) -> Cell:
        choices = [(choice.source, choice.node, (choice.operation,)) for choice in self.genotype.cells[kind]]
        return Cell(self.space.cells[kind], choices, sizes, reduction_before, True, False)

    def forward(self, images: Tensor, drop_path: float = 0.0) -> Tensor | tuple[Tensor, Tensor]:
        features, states = self.run(images, None, drop_path)
        logits = self.classifier(features)
        if hasattr(self, "auxiliary") and self.training:
            return logits, self.auxiliary(states[self.auxiliary_layer])
        return logits
