"""Costs: by hand, against the discrete network, and what a table on disk may hold."""

from __future__ import annotations

import itertools
import json
import random
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from tables import check_each
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from robustnas import cost
from robustnas.cost import UNITS, CostTable, Profiler, read_table
from robustnas.networks import DiscreteNetwork, operations, register_operation
from robustnas.runs.record import write_json
from robustnas.spaces import (
    DARTS,
    S1,
    Choice,
    DARTSSingleCell,
    Genotype,
    MobileSmall,
    NASBench201,
    SearchSpace,
    complete_cell,
    mobile,
)

SIZES: dict[str, dict[str, Any]] = {
    "NASBench201": {"space": NASBench201, "cells": 2, "channels": 8},
    "DARTS": {"space": DARTS, "layers": 4, "channels": 4, "num_classes": 7},
    "single cell": {"space": DARTSSingleCell, "channels": 4},
    "S1": {"space": S1, "layers": 3, "channels": 4, "stem": "imagenet", "image_shape": (3, 72, 56)},
    "Mobile": {"space": MobileSmall, "channels": 16, "image_shape": (1, 20, 12)},
    "short": {"space": mobile("short", (1, 2), ("mbconv_3x3_3", "mbconv_7x7_6")), "channels": 32, "stem": "imagenet"},
}


def drawn(space: SearchSpace, seed: int) -> Genotype:
    """An architecture of the space."""
    draw, cells = random.Random(seed), {}
    for kind, cell in space.cells.items():
        choices: list[Choice] = []
        for node in cell.nodes:
            into = [edge for _, edge in cell.edges_into(node)]
            for edge in draw.sample(into, cell.keep) if cell.keep else into:
                allowed = [name for name in edge.operations if name not in cell.never_selected]
                choices.append(Choice(edge.source, node, draw.choice(allowed)))
        cells[kind] = tuple(choices)
    return Genotype(space.name, cells)


@pytest.mark.parametrize("name", SIZES)
def test_a_genotype_costs_what_its_network_does(name: str) -> None:
    profiler = Profiler(**SIZES[name])
    table, space = profiler.table(), SIZES[name]["space"]
    for seed in range(3):
        genotype = drawn(space, seed)
        with torch.device("meta"):
            network = DiscreteNetwork(
                space, genotype, profiler.channels, profiler.layers, profiler.cells, profiler.num_classes,
                profiler.image_shape[0], profiler.stem, convolution="separable",
            ).eval()  # fmt: skip
            with FlopCounterMode(display=False) as counter:
                network(torch.empty(1, *profiler.image_shape))
        assert table.cost(genotype, "parameters", space) == sum(p.numel() for p in network.parameters())
        assert 2 * table.cost(genotype, "flops", space) == counter.get_total_flops()


def test_nasbench201_by_hand() -> None:
    """One cell at 4, 8 and 16 channels, on 8 x 8, 4 x 4 and 2 x 2 pixels."""
    table = Profiler("NASBench201", (1, 8, 8), channels=4, cells=1, num_classes=5).table()
    stages = ((4, 64), (8, 16), (16, 4))
    weights = {k: sum(c * c * k * k + 2 * c for c, _ in stages) for k in (1, 3)}
    products = {k: sum(c * c * k * k * pixels for c, pixels in stages) for k in (1, 3)}
    assert table.kinds["cell"]["parameters"] == ((0, 0, weights[1], weights[3], 0),) * 6
    assert table.kinds["cell"]["flops"] == ((0, 0, products[1], products[3], 0),) * 6
    between = [(4, 8, 16), (8, 16, 4)]  # residual blocks: channels before and after, pixels after
    rest = 9 * 4 * 64 + sum(p * (9 * a * b + 9 * b * b + a * b) for a, b, p in between) + 16 * 5
    assert table.rest["flops"] == rest
    norms = 2 * (4 + 2 * 8 + 2 * 16 + 16)
    assert table.rest["parameters"] == 9 * 4 + sum(9 * a * b + 9 * b * b + a * b for a, b, _ in between) + norms + 85


def test_the_known_count_of_nasbench201_without_convolutions() -> None:
    """All skips have 0.073 million parameters in the benchmark."""
    assert Profiler("NASBench201", channels=16, cells=5).table(["parameters"]).rest["parameters"] == 73306


@pytest.mark.parametrize(("stem", "pixels"), [("cifar", 32 * 32), ("imagenet", 8 * 8)])
def test_mobile_blocks_by_hand(stem: Any, pixels: int) -> None:
    space = mobile("short", (2,), ("mbconv_3x3_3", "mbconv_7x7_6"))
    flops = Profiler(space, channels=32, stem=stem).table(["flops"]).kinds["chain"]["flops"]
    before = pixels * (4 if stem == "imagenet" else 1)  # the first block halves the size after it has widened

    def block(entering: int, size: int, expansion: int, wide: int) -> int:
        inside = entering * expansion
        return wide * entering * inside + pixels * (inside * size * size + inside * 24)

    assert flops[0] == (block(16, 3, 3, before), block(16, 7, 6, before))
    assert flops[1] == (block(24, 3, 3, pixels), block(24, 7, 6, pixels), 0)


class Mixer(nn.Module):
    """Pools, then mixes channels with a bias."""

    def __init__(self, channels: int, stride: int, affine: bool) -> None:
        super().__init__()
        self.pool, self.mix = nn.AvgPool2d(3, stride, 1), nn.Conv2d(channels, channels, 1)

    def forward(self, images: Tensor) -> Tensor:
        return self.mix(self.pool(images))


def test_operations_of_ones_own_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(operations, "_KNOWN", dict(operations._KNOWN))
    register_operation("mixer", Mixer)
    space = SearchSpace("mine", {"cell": complete_cell(1, 2, ("mixer", "skip_connect"), (2,))}, "nasbench201")
    table = Profiler(space, (3, 8, 8), channels=2, cells=1).table()
    assert table.kinds["cell"]["parameters"][0] == (6 + 20 + 72, 0)
    assert table.kinds["cell"]["flops"][0] == (4 * 64 + 16 * 16 + 64 * 4, 0)


def test_latency_is_a_median_after_a_warm_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """A clock that only runs while the operation does: slowly at first, and once by chance."""
    durations = iter([9.0, 9.0, 0.003, 0.001, 7.0, 0.002, 0.004])
    now, order = [0.0], list[str]()

    def run() -> None:
        order.append("run")
        now[0] += next(durations)

    monkeypatch.setattr(cost.time, "perf_counter", lambda: now[0])
    monkeypatch.setattr(Profiler, "_wait", lambda self: order.append("wait"))
    profiler = Profiler("NASBench201", repeats=5)
    assert profiler._milliseconds(run) == pytest.approx(3)
    assert order == ["wait", "run", "wait"] * 7
    assert next(durations, None) is None


def test_latency_is_measured_once_for_each_operation_and_size(monkeypatch: pytest.MonkeyPatch) -> None:
    measured: list[tuple[int, ...]] = []

    def milliseconds(self: Profiler, run: Callable[[], Any]) -> float:
        assert not torch.is_grad_enabled()
        output = run()
        measured.append(tuple((output if isinstance(output, Tensor) else output[0]).shape))
        return float(len(measured))

    monkeypatch.setattr(Profiler, "_milliseconds", milliseconds)
    space = mobile("short", (1, 3), ("mbconv_3x3_3", "mbconv_5x5_3"))
    table = Profiler(space, (1, 12, 12), channels=32, batch=6).table(["latency"])
    assert measured == [(6, 24, 12, 12)] * 2 + [(6, 40, 6, 6)] * 4 + [(6, 10)]
    assert table.kinds["chain"]["latency"] == ((1, 2), (3, 4), (5, 6, 0), (5, 6, 0))
    assert table.rest == {"latency": 7}
    first = Genotype("short", {"chain": [Choice(k, k + 1, "mbconv_3x3_3") for k in range(4)]})
    assert table.cost(first, "latency", space) == 1 + 3 + 5 + 5 + 7


def test_a_larger_operation_takes_longer() -> None:
    space = mobile("short", (1,), ("mbconv_3x3_3", "mbconv_7x7_6"))
    table = Profiler(space, (3, 32, 32), channels=32, batch=8, repeats=5).table(["latency"])
    (small, large), rest = table.kinds["chain"]["latency"][0], table.rest["latency"]
    assert 0 < small < large
    assert rest > 0


def test_memory_access_by_hand() -> None:
    """Inputs, weights and outputs of convolutions, poolings and the classifier: one cell of each of three stages."""
    table = Profiler("NASBench201", (1, 8, 8), channels=4, cells=1, num_classes=5).table(["memory_access"])
    stages = ((4, 64), (8, 16), (16, 4))
    passed = sum(2 * c * pixels for c, pixels in stages)
    weights = {k: sum(c * c * k * k for c, _ in stages) for k in (1, 3)}
    assert table.kinds["cell"]["memory_access"] == ((0, 0, passed + weights[1], passed + weights[3], passed),) * 6
    assert table.about["channels"] == 4
    blocks = 0
    # The way past a block pools before its 1 x 1 convolution.
    for (a, before), (b, after) in itertools.pairwise(stages):
        blocks += a * before + 9 * a * b + b * after + b * after + 9 * b * b + b * after
        blocks += a * before + a * after + a * after + a * b + b * after
    assert table.rest["memory_access"] == 64 + 9 * 4 + 4 * 64 + blocks + 16 + 16 * 5 + 5


def test_max_pooling_reads_and_writes_too() -> None:
    cell = complete_cell(2, 1, ("max_pool_3x3", "skip_connect", "sep_conv_3x3"), (2,))
    halved = complete_cell(2, 1, ("max_pool_3x3", "skip_connect", "sep_conv_3x3"), (2,), reduction=True)
    space = SearchSpace("Pooled", {"normal": cell, "reduce": halved})
    table = Profiler(space, (1, 8, 8), channels=4, layers=3).table(["memory_access"])
    pooled, passed, convolved = table.kinds["normal"]["memory_access"][0]
    assert (pooled, passed) == (2 * 4 * 64, 0)
    assert convolved == 2 * (2 * 4 * 64 + 9 * 4) + 2 * (2 * 4 * 64 + 16)


def test_a_table_comes_back_from_its_file(tmp_path: Path) -> None:
    table = Profiler(**SIZES["S1"]).table()
    write_json(tmp_path / "costs.json", table.to_json())
    again = read_table(tmp_path / "costs.json")
    assert (again.space, again.operations, again.kinds, again.rest) == (
        "S1", table.operations, table.kinds, table.rest,
    )  # fmt: skip
    data = json.loads((tmp_path / "costs.json").read_text(encoding="utf-8"))
    assert data["units"] == {"parameters": "weights", "flops": "multiply-adds for an image"}
    assert data["about"]["image_shape"] == [3, 72, 56]
    assert set(UNITS) == {"parameters", "flops", "memory_access", "latency"}


def damaged(change: Callable[[dict[str, Any]], object]) -> str:
    data = json.loads(json.dumps(Profiler("NASBench201", (1, 8, 8), 2, cells=1).table().to_json()))
    change(data)
    return json.dumps(data)


DAMAGED: dict[str, tuple[Callable[[], str | None], str]] = {
    "missing": (lambda: None, "FileNotFoundError: No such file or directory"),
    "no JSON": (lambda: "{", "ValueError: a truncated file: "),
    "a list": (lambda: "[]", "ValueError: not a cost table of schema version 1"),
    "another schema": (lambda: '{"schema": 2}', "ValueError: not a cost table of schema version 1"),
    "no rest": (lambda: damaged(lambda data: data.pop("rest")), "KeyError: 'rest'"),
    "no kinds": (lambda: damaged(lambda data: data.update(kinds=[])), "TypeError: "),
    "a word": (lambda: damaged(lambda data: data["rest"].update(flops="many")), "ValueError: 'many' is not a cost"),
    "a negative": (lambda: damaged(lambda data: data["rest"].update(flops=-1)), "ValueError: -1 is not a cost"),
    "infinite": (
        lambda: damaged(lambda data: data["rest"].update(flops=1e999)),
        "ValueError: Infinity, which JSON does not allow",
    ),
    "a missing edge": (
        lambda: damaged(lambda data: data["kinds"]["cell"]["flops"].pop()),
        "ValueError: flops of 'cell' and its operations differ in shape",
    ),
    "a missing operation": (
        lambda: damaged(lambda data: data["kinds"]["cell"]["flops"][2].pop()),
        "ValueError: flops of 'cell' and its operations differ in shape",
    ),
}


def test_what_is_no_table_is_named(tmp_path_factory: pytest.TempPathFactory) -> None:
    def check(case: str) -> None:
        tmp_path = tmp_path_factory.mktemp("row")
        make, reason = DAMAGED[case]
        path = tmp_path / "costs.json"
        if (text := make()) is not None:
            path.write_text(text, encoding="utf-8")
        sentence = f"Expected {path} to be a cost table that `robustnas profile` wrote, but reading it fails: {reason}"
        with pytest.raises(ValueError, match=re.escape(sentence)):
            read_table(path)

    check_each(DAMAGED, check)


def test_what_does_not_fit_a_table_is_refused() -> None:
    table = Profiler("NASBench201", (1, 8, 8), 2, cells=1).table(["flops"])
    genotype = drawn(NASBench201, 0)
    other = SearchSpace("NASBench201", {"cell": complete_cell(1, 3, ("none", "skip_connect"), (3,))}, "nasbench201")
    sentences: dict[str, Callable[[], object]] = {
        r"Expected a cost table of S1 in its present form, but got one of NASBench201\.": lambda: table.check(
            S1, "flops"
        ),
        r"Expected a cost table of NASBench201 in its present form, but got one of NASBench201\.": lambda: table.check(
            other, "flops"
        ),
        r"Expected a cost table that holds 'latency', but got one of \['flops'\]\.": lambda: table.cost(
            genotype, "latency"
        ),
        r"Expected `measures` to be among \['parameters', .*, 'latency'\], but got \['time'\]\.": lambda: Profiler(
            "S1"
        ).table(["time"]),  # type: ignore[list-item]
        r"Expected `batch` and `repeats` to be at least 1, but got 0, 15\.": lambda: Profiler("S1", batch=0),
        r"Expected `cells` to set the depth in the space NASBench201, but got `layers` = 8\.": lambda: Profiler(
            "NASBench201", layers=8
        ).table(),
        r"Expected `images` to be at least 4 x 4 pixels": lambda: Profiler("NASBench201", (3, 3, 3)).table(),
    }
    for sentence, call in sentences.items():
        with pytest.raises(ValueError, match=sentence):
            call()
    assert isinstance(table, CostTable)
