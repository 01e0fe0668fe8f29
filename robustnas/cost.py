"""Cost of the operations of a space: parameters, FLOPs, memory access and latency.

FLOPs are multiply-adds of convolutions and linear layers for one image, the convention of papers on mobile networks: a
product and its addition count as one. BatchNorm, activations, poolings and sums are not counted. Memory access is the
numbers that convolutions, linear layers and poolings read and write for one image: inputs, weights and outputs
(arXiv:1807.11164). An identity computes nothing and costs nothing.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any, Literal, NamedTuple

import torch
from torch.utils.flop_counter import FlopCounterMode

from robustnas.networks.blocks import Stem
from robustnas.networks.bundle import Bundle, State
from robustnas.networks.cell import Candidate, EdgeOperation
from robustnas.networks.config import SupernetConfig
from robustnas.networks.discrete import DiscreteNetwork
from robustnas.networks.operations import build_operation
from robustnas.networks.resnet import ResNet
from robustnas.networks.skeleton import Skeleton
from robustnas.networks.supernet import all_candidates, build_skeleton, in_format
from robustnas.runtime.safe_files import parse_json, read_bytes
from robustnas.spaces import Genotype, SearchSpace, find_space

SCHEMA = 1
Measure = Literal["parameters", "flops", "memory_access", "latency"]
UNITS: Mapping[Measure, str] = {
    "parameters": "weights",
    "flops": "multiply-adds for an image",
    "memory_access": "numbers read and written for an image",
    "latency": "milliseconds for a batch",
}

Rows = tuple[tuple[float, ...], ...]
Shape = Sequence[int]


def _layer(images: Shape, weight: Shape, *_: Any, out_shape: Shape, **__: Any) -> int:
    return math.prod(images) + math.prod(weight) + math.prod(out_shape)


def _linear(_: Shape, images: Shape, weight: Shape, *__: Any, out_shape: Shape, **___: Any) -> int:
    return _layer(images, weight, out_shape=out_shape)


def _max_pooling(images: Shape, *_: Any, out_shape: Sequence[Shape], **__: Any) -> int:
    return math.prod(images) + math.prod(out_shape[0])


def _pooling(images: Shape, *_: Any, out_shape: Shape, **__: Any) -> int:
    return math.prod(images) + math.prod(out_shape)


#: How many numbers an operation of torch reads and writes, from the shapes of its arguments and of its result.
ACCESSES: dict[Any, Callable[..., int]] = {
    torch.ops.aten.convolution: _layer,
    torch.ops.aten.addmm: _linear,
    torch.ops.aten.max_pool2d_with_indices: _max_pooling,
    torch.ops.aten.avg_pool2d: _pooling,
}


@dataclass(frozen=True)
class CostTable:
    """Cost of each operation on each edge, summed over the cells of its kind, and of the rest of the network."""

    space: str
    operations: Mapping[str, tuple[tuple[str, ...], ...]]
    kinds: Mapping[str, Mapping[str, Rows]]  # costs by measure, [edges][operations]
    rest: Mapping[str, float]  # of the network without operations, by measure
    about: Mapping[str, Any] = field(default_factory=dict)  # settings and device of the measurement

    def cost(self, genotype: Genotype, measure: Measure, space: SearchSpace | None = None) -> float:
        """Cost of the discrete network of a genotype in ``UNITS``; latency is the sum over operations and the rest."""
        space = space or find_space(genotype.space)
        self.check(space, measure)
        genotype.validate(space)
        total = self.rest[measure]
        for kind, choices in genotype.cells.items():
            for source, node, operation in choices:
                row = space.cells[kind].row(source, node) or 0
                total += self.kinds[kind][measure][row][self.operations[kind][row].index(operation)]
        return total

    def check(self, space: SearchSpace, measure: Measure) -> None:
        """Refuse another space than the table's, and a measure that it lacks."""
        found = {kind: tuple(edge.operations for edge in cell.edges) for kind, cell in space.cells.items()}
        if self.space != space.name or self.operations != found:
            raise ValueError(f"Expected a cost table of {space.name} in its present form, but got one of {self.space}.")
        if measure not in self.rest:
            raise ValueError(f"Expected a cost table that holds {measure!r}, but got one of {list(self.rest)}.")

    def to_json(self) -> dict[str, Any]:
        """The table in JSON's types, with a schema version; :func:`read_table` reads it back."""
        return {"schema": SCHEMA, **asdict(self), "units": {m: unit for m, unit in UNITS.items() if m in self.rest}}


def read_table(path: str | Path) -> CostTable:
    """Read a table that ``robustnas profile`` wrote; a ``ValueError`` names what is missing or no table."""
    try:
        data = parse_json(read_bytes(Path(path)))
        if not isinstance(data, dict) or data.get("schema") != SCHEMA:
            raise ValueError(f"not a cost table of schema version {SCHEMA}")
        return _checked(data)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        reason = (error.strerror if isinstance(error, OSError) else None) or " ".join(str(error).split())
        raise ValueError(
            f"Expected {path} to be a cost table that `robustnas profile` wrote, but reading it fails: "
            f"{type(error).__name__}: {reason}"
        ) from error


def _checked(data: Mapping[str, Any]) -> CostTable:
    operations = {kind: tuple(map(tuple, rows)) for kind, rows in data["operations"].items()}
    rest = {measure: _number(value) for measure, value in data["rest"].items()}
    kinds = {
        kind: {measure: tuple(tuple(map(_number, row)) for row in data["kinds"][kind][measure]) for measure in rest}
        for kind in operations
    }
    for kind, costs in kinds.items():
        for measure, rows in costs.items():
            if [len(row) for row in rows] != [len(row) for row in operations[kind]]:
                raise ValueError(f"{measure} of {kind!r} and its operations differ in shape")
    return CostTable(str(data["space"]), operations, kinds, rest, data.get("about", {}))


def _number(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not (value >= 0 and math.isfinite(value)):
        raise ValueError(f"{value!r} is not a cost")
    return value


class _Place(NamedTuple):
    """An operation of one cell: its place in the table, and the properties that determine its cost."""

    kind: str
    row: int
    column: int
    name: str
    bundle: Bundle
    size: tuple[int, int]


@dataclass(frozen=True)
class Profiler:
    """Measures the cost of the operations in the discrete networks of a space."""

    space: SearchSpace | str
    image_shape: tuple[int, int, int] = (3, 32, 32)
    channels: int = 16
    layers: int | None = None  # cells, in spaces with the DARTS skeleton (default 8)
    cells: int | None = None  # of each of the three stages, in NAS-Bench-201 (default 5)
    num_classes: int = 10
    stem: Stem = "cifar"
    batch: int = 64  # batch size for latency
    device: str = "cpu"  # for latency
    repeats: int = 15  # timed runs, after a third as many to warm up; the median is used

    def __post_init__(self) -> None:
        if min(self.batch, self.repeats) < 1:
            raise ValueError(f"Expected `batch` and `repeats` to be at least 1, but got {self.batch}, {self.repeats}.")

    def table(self, measures: Sequence[Measure] = ("parameters", "flops")) -> CostTable:
        """Measure a table of some of ``UNITS``."""
        space = find_space(self.space)
        if not measures or any(measure not in UNITS for measure in measures):
            raise ValueError(f"Expected `measures` to be among {list(UNITS)}, but got {list(measures)}.")
        places = self._places(space)
        kinds: dict[str, dict[str, Rows]] = {kind: {} for kind in space.cells}
        rest: dict[str, float] = {}
        for measure in dict.fromkeys(measures):
            known: dict[tuple[object, ...], float] = {}
            sums = {kind: [[0.0] * len(edge.operations) for edge in c.edges] for kind, c in space.cells.items()}
            for place in places:
                if (key := place[3:]) not in known:
                    known[key] = self._of_operation(place, measure)
                sums[place.kind][place.row][place.column] += known[key]
            for kind, rows in sums.items():
                kinds[kind][measure] = tuple(tuple(map(_plain, row)) for row in rows)
            nothing: dict[str, list[Candidate]] = {kind: [] for kind in space.cells}
            make = partial(self._body, space, nothing)
            rest[measure] = _plain(self._of(measure, make, self.image_shape, lambda body, images: body(images, None)))
        operations = {kind: tuple(edge.operations for edge in cell.edges) for kind, cell in space.cells.items()}
        here = {"image_shape": list(self.image_shape), "threads": torch.get_num_threads()}
        return CostTable(space.name, operations, kinds, rest, {**asdict(replace(self, space=space.name)), **here})

    @torch.no_grad()
    def latency(self, genotype: Genotype) -> float:
        """Latency of the whole discrete network of a genotype, which the table predicts by a sum, in milliseconds."""
        space = find_space(self.space)
        with torch.device(self.device):
            network = DiscreteNetwork(space, genotype, config=self._config()).eval()
        images = in_format(torch.rand(self.batch, *self.image_shape, device=self.device), None)
        return self._milliseconds(lambda: network(images))

    def _config(self) -> SupernetConfig:
        size = (self.channels, self.layers, self.cells, self.num_classes, self.image_shape[0])
        return SupernetConfig(*size, self.stem, affine=True, pool_norm=False)

    def _body(self, space: SearchSpace, candidates: Mapping[str, list[Candidate]]) -> Skeleton:
        return build_skeleton(space, candidates, self._config())

    def _places(self, space: SearchSpace) -> list[_Place]:
        """Every operation of every cell, with the size of the images that enter it."""
        candidates, places = all_candidates(space), list[_Place]()
        with torch.device("meta"):
            body = self._body(space, candidates).eval()
        kinds = {id(c): kind for kind, listed in candidates.items() for c in listed}  # equal ones stand in many kinds

        def record(leaving: torch.nn.Module, inputs: tuple[Any, ...]) -> None:
            assert isinstance(leaving, EdgeOperation)
            height, width = inputs[0].images.shape[-2:]
            for c in leaving.candidates:
                one = replace(leaving.operation.bundle, edges=1)
                places.append(_Place(kinds[id(c)], c.row, c.column, c.operation, one, (height, width)))

        for module in body.modules():
            if isinstance(module, EdgeOperation):
                module.register_forward_pre_hook(record)
        with torch.no_grad():
            body(torch.empty(1, *self.image_shape, device="meta"), None)
        return places

    def _of_operation(self, place: _Place, measure: Measure) -> float:
        counted = replace(place.bundle, convolution="separable")  # kernels that are multiplied out would count as one
        bundle = place.bundle if measure == "latency" else counted
        make = partial(build_operation, place.name, bundle)
        shape = (bundle.channels, *place.size)
        return self._of(measure, make, shape, lambda operation, images: operation(State(images), (0,), None))

    @torch.no_grad()
    def _of(self, measure: Measure, make: Callable[[], Any], shape: Sequence[int], run: Callable[..., Any]) -> float:
        """What a module costs that ``make`` makes and ``run`` calls with images of a shape."""
        device = self.device if measure == "latency" else "meta"
        with torch.device(device):
            module = make().eval()
        if measure == "parameters":
            return int(sum(parameter.numel() for parameter in module.parameters()))
        if measure == "latency":
            images = in_format(torch.rand(self.batch, *shape, device=device), None)
            return self._milliseconds(lambda: run(module, images))
        counted = ACCESSES if measure == "memory_access" else {}
        with FlopCounterMode(display=False, custom_mapping=counted) as counter:
            run(module, torch.empty(1, *shape, device=device))
        return int(counter.get_total_flops()) // (1 if counted else 2)

    def _milliseconds(self, run: Callable[[], object]) -> float:
        seconds = []
        for k in range(-(self.repeats // 3 + 1), self.repeats):
            self._wait()
            start = time.perf_counter()
            run()
            self._wait()
            if k >= 0:
                seconds.append(time.perf_counter() - start)
        return 1000 * median(seconds)

    def _wait(self) -> None:
        if torch.device(self.device).type != "cpu":
            torch.accelerator.synchronize(torch.device(self.device))


@torch.no_grad()
def multiply_adds(network: DiscreteNetwork | ResNet, image_shape: Sequence[int]) -> int:
    """Multiply-adds of a network for one image of ``image_shape``, channels, height and width."""
    with torch.device("meta"):
        if isinstance(network, ResNet):
            counted: torch.nn.Module = ResNet(**network.size)
        else:  # kernels that are multiplied out would count as one
            config = replace(network.config, convolution="separable")
            counted = DiscreteNetwork(network.space, network.genotype, config=config)
        with FlopCounterMode(display=False) as counter:
            counted.eval()(torch.empty(1, *image_shape))
    return int(counter.get_total_flops()) // 2


def _plain(value: float) -> float:
    return int(value) if value == int(value) else value
