"""Similarities of gradients against loops over channels, and the decisions that follow."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from golden import check
from robustnas.variants import OLES
from torch import Tensor, nn

from robustnas.networks.operations import register_operation
from robustnas.spaces import SearchSpace, complete_cell
from robustnas.strategies import (
    BinaryGates,
    FirstOrder,
    GradientAgreement,
    GumbelOneHot,
    Sparsemax,
    Unrolled,
    UnrolledByDifferences,
)


def cosine(one: Tensor, other: Tensor) -> float:
    dot = sum(a * b for a, b in zip(one.tolist(), other.tolist(), strict=True))
    return dot / math.sqrt(sum(a * a for a in one.tolist()) * sum(b * b for b in other.tolist()))


def released(validation: list[Tensor], training: list[Tensor]) -> float:
    """The similarity of an operation with such weights, channel vector by channel vector."""
    means = []
    for v, g in zip(validation, training, strict=True):
        channels = len(g) if g.dim() else 1
        columns, others = (v + g).reshape(channels, -1).T, g.reshape(channels, -1).T
        found = [cosine(one, other) for one, other in zip(columns, others, strict=True)]
        means.append(sum(found) / len(found))
    return sum(means) / len(means)


def clean(validation: list[Tensor], training: list[Tensor]) -> float:
    return cosine(*(torch.cat([one.flatten() for one in own]) for own in (validation, training)))


FORMULAS = {"released": released, "clean": clean}


class Scaled(nn.Module):
    """An operation of one's own, with a weight of one axis and one of none."""

    def __init__(self, channels: int, stride: int, affine: bool) -> None:
        super().__init__()
        self.factor, self.shift = nn.Parameter(torch.randn(channels)), nn.Parameter(torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        return self.factor[:, None, None] * x + self.shift


register_operation("scaled_in_agreement", Scaled)
OWN = SearchSpace(
    "Own",
    {"cell": complete_cell(1, 3, ("none", "skip_connect", "scaled_in_agreement", "nor_conv_3x3"), (3,))},
    skeleton="nasbench201",
)
SIZES: dict[str, dict[str, Any]] = {
    "S2": {"space": "S2", "layers": 3}, "NASBench201": {"space": "NASBench201", "cells": 1},
    "MobileSmall": {"space": "MobileSmall"}, "Own": {"space": OWN, "cells": 1},
}  # fmt: skip


def by_operation(module: OLES, slopes: dict[str, Tensor]) -> list[list[Tensor]]:
    """Gradients of the weights of each operation that the hook knows, in its order, by names edge by edge."""
    edgewise = module.supernet.edgewise_state_dict(of=slopes)
    prefixes = {prefix.rsplit(".edge.")[0] for prefix in edgewise if ".edge." in prefix}
    cells = sorted(prefixes, key=lambda name: int(name.split(".")[1]))
    found = []
    for place in module.hooks["gradient_agreement"].places:  # type: ignore[attr-defined]
        kind = module.supernet.body.kinds[place.cell]
        edge = module.space.cells[kind].edges[place.row]
        prefix = f"{cells[place.cell]}.edge.{edge.name}.{edge.operations[place.column]}."
        found.append([slope for name, slope in edgewise.items() if name.startswith(prefix)])
        assert found[-1]
    return found


@pytest.mark.parametrize("rule", FORMULAS)
@pytest.mark.parametrize("space", SIZES)
def test_the_similarity_of_every_operation_is_that_of_a_loop(space: str, rule: Any) -> None:
    torch.manual_seed(0)
    module = OLES(GradientAgreement(rule=rule), channels=4, num_classes=4, **SIZES[space])
    hook: Any = module.hooks["gradient_agreement"]
    parameters = dict(module.supernet.named_parameters())
    draws = [{n: torch.randn(p.shape, dtype=torch.float64) for n, p in parameters.items()} for _ in range(4)]
    expected = torch.zeros(len(hook.places), dtype=torch.float64)
    if rule == "released":
        hook.arch_slopes(draws[0])  # before there is a training gradient
        assert hook.values == 0
    for validation, training in (draws[:2], draws[2:]):
        if rule == "released":
            hook.descended(training)
        hook.arch_slopes(validation)
        if rule == "clean":
            hook.weight_slopes({name: slope.clone() for name, slope in training.items()}, None, None)
        pairs = zip(by_operation(module, validation), by_operation(module, training), strict=True)
        expected += torch.tensor([FORMULAS[rule](*pair) for pair in pairs], dtype=torch.float64)
    assert hook.values == 2
    assert hook.seen.tolist() == [2.0] * len(hook.places)
    check(hook.total, expected, rtol=1e-12, atol=1e-12)


def test_only_operations_with_weights_are_watched() -> None:
    module = OLES(space="DARTS", layers=3, channels=4)
    hook: Any = module.hooks["gradient_agreement"]
    cells = [module.space.cells[kind] for kind in module.supernet.body.kinds]
    names = [cells[place.cell].edges[place.row].operations[place.column] for place in hook.places]
    assert len(names) == 168
    assert set(names) == {f"{kind}_conv_{k}x{k}" for kind in ("sep", "dil") for k in (3, 5)}
    watched = {name.partition(".edge.")[0] for name in hook.watched()}
    assert watched == {f"body.cells.{k}" for k in range(3)}


def test_unrelated_gradients_of_equal_length_are_not_told_apart_from_zero_by_the_released_rule() -> None:
    generator = torch.Generator().manual_seed(0)
    v, g = torch.randn(2, 40, 64, 64, generator=generator, dtype=torch.float64)
    found = {}
    for rule in ("released", "clean"):
        part = GradientAgreement(rule=rule)  # type: ignore[arg-type]
        found[rule] = float(part.similarity(part.terms(v, g).sum(dim=1, keepdim=True))[0])
    assert found["released"] == pytest.approx(0.5**0.5, abs=0.01)
    assert found["clean"] == pytest.approx(0, abs=0.01)


def test_decisions_fall_after_a_window_and_leave_out_what_was_not_there() -> None:
    for rule, window in (("released", 4), ("clean", 3)):
        part = GradientAgreement(0.5, interval=3, rule=rule)  # type: ignore[arg-type]
        assert part.window == window
        count = torch.tensor([window, window, 1.0, 0.0])
        total = torch.tensor([0.51, 0.49, 0.49, 0.0]) * 3 / window * count
        assert part.disagree(total, count).tolist() == [False, True, True, False]
    everything = GradientAgreement(1.0)
    nothing = GradientAgreement(-1.0)
    worst = torch.tensor([-21.0])
    assert everything.disagree(worst, torch.tensor([21.0])).tolist() == [True]
    assert nothing.disagree(worst, torch.tensor([21.0])).tolist() == [False]
    for rule in ("released", "clean"):
        part = GradientAgreement(rule=rule)  # type: ignore[arg-type]
        zero, one = torch.zeros(2, 3, 3), torch.ones(2, 3, 3)
        similarity, counts = part.similarity(part.terms(torch.cat([zero, one]), torch.cat([one, zero])))
        assert similarity.tolist() == [0.0] * 4
        assert counts.tolist() == [False] * 4


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"threshold": 1.1}, "Expected `threshold` to be between -1 and 1, but got 1.1."),
        ({"threshold": math.nan}, "Expected `threshold` to be between -1 and 1, but got nan."),
        ({"interval": 0}, "Expected `interval` to be at least 1, but got 0."),
        ({"rule": "paper"}, "Expected `rule` to be 'released' or 'clean', but got 'paper'."),
    ],
)
def test_arguments_out_of_range_are_refused(arguments: Any, said: str) -> None:
    with pytest.raises(ValueError, match=f"^{said}$"):
        GradientAgreement(**arguments)


class OneStream(FirstOrder):
    streams = {"train": ("weights", "arch")}  # noqa: RUF012


FREE = SearchSpace(
    "Free", {"cell": complete_cell(1, 3, ("skip_connect", "avg_pool_3x3"), (3,))}, skeleton="nasbench201"
)


@pytest.mark.parametrize(
    ("parts", "said"),
    [
        ({"gradient": Unrolled()}, "`gradient` to be `FirstOrder` .* got `Unrolled`, which .* at other weights than"),
        ({"gradient": UnrolledByDifferences()}, "`gradient` to be `FirstOrder` .* got `UnrolledByDifferences`, which"),
        ({"gradient": OneStream()}, "got `OneStream`, which draws both steps from one stream"),
        ({"relaxation": GumbelOneHot()}, "`relaxation` to compute all operations .* got `GumbelOneHot`, which samples"),
        ({"relaxation": BinaryGates()}, "`relaxation` to compute all operations .* got `BinaryGates`, which samples"),
        ({"space": FREE}, "`space` to have operations with weights beside .* got Free, which has none"),
    ],
)
def test_what_makes_no_sense_is_refused(parts: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        OLES(**{"space": "NASBench201", "cells": 1, "channels": 4, **parts})
    OLES(space="NASBench201", cells=1, channels=4, relaxation=Sparsemax())
