"""Λ-DARTS: the regulariser is that of the original, and its gradient that of central differences."""

from __future__ import annotations

from dataclasses import replace
from itertools import combinations
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from golden import check, golden, part
from pytorch_lightning import Callback, Trainer
from robustnas.variants import DARTS, LambdaDARTS
from runs import differing, fit, state
from tables import with_slow
from torch import Tensor
from torch.nn.functional import cross_entropy

from robustnas.data import Batch
from robustnas.networks import Mixture, PartialChannels
from robustnas.networks.batchnorm_statistics import frozen_batchnorm_statistics
from robustnas.strategies import BinaryGates, GumbelOneHot, LayerAlignment, RandomPerturbation, StepContext
from robustnas.strategies.layer_alignment import alignment

KINDS = ("normal", "reduce")


def at(module: Any, epoch: int, epochs: int) -> Any:
    """The module as in an epoch of a search."""
    module._trainer = SimpleNamespace(
        is_last_batch=False, global_step=0, current_epoch=epoch, max_epochs=epochs, world_size=1, global_rank=0
    )
    return module.train()


class Replay:
    """The search at the state of the case."""

    def __init__(self, **options: Any) -> None:
        self.arrays, self.meta = golden("lambda_darts")
        sizes = self.meta["sizes"]
        alignment = LayerAlignment(0.25, **options)
        self.module = LambdaDARTS(alignment, space="S3", channels=sizes["C"], layers=sizes["layers"]).double()
        self.module.supernet.load_edgewise_state_dict(part(self.arrays, "w/"))
        for kind, alpha in self.module.alphas.items():
            alpha.data.copy_(self.arrays[f"alpha/{kind}"])
        at(self.module, 20, 50)
        self.batch = Batch(self.arrays["x_train"], self.arrays["y_train"], torch.tensor(0))
        self.mixtures = {kind: m.detach() for kind, m in self.module.mixtures(self.module.context("weights")).items()}

    def regularised(self) -> dict[str, Tensor]:
        """What is added to the gradient of the weights, edge by edge."""
        slopes = {name: torch.zeros_like(weight) for name, weight in self.module.supernet.named_parameters()}
        self.module.hooks["layer_alignment"].weight_slopes(slopes, self.batch, self.mixtures)
        return self.module.supernet.edgewise_state_dict(of=slopes)


@pytest.mark.parametrize("measure", ["corr", "signcorr"])
def test_the_exact_regulariser_is_that_of_the_original(measure: Any) -> None:
    replay = Replay(measure=measure)
    buffers = {name: buffer.clone() for name, buffer in replay.module.supernet.named_buffers()}
    found, expected = replay.regularised(), part(replay.arrays, f"out/{measure}/regulariser_grad_w_exact/")
    assert found.keys() == expected.keys()
    for name, slope in found.items():
        check(slope, expected[name], **replay.meta["tolerances"]["exact"])
    assert all(torch.equal(buffer, buffers[name]) for name, buffer in replay.module.supernet.named_buffers())


@pytest.mark.parametrize("measure", ["corr", "signcorr"])
def test_differences_are_those_of_the_original(measure: Any) -> None:
    replay = Replay(measure=measure, form="differences", radius=1e-3)
    found, expected = replay.regularised(), part(replay.arrays, f"out/{measure}/regulariser_grad_w/")
    assert found.keys() == expected.keys()
    for name, slope in found.items():
        close = replay.meta["tolerances"]["regulariser"]
        check(slope, expected[name], rtol=close["rtol"], atol=close["atol"])
    trained = part(replay.arrays, "out/grad_w/")
    total = torch.cat([(found[name] + trained[name]).flatten() for name in found]).norm()
    check(total, replay.arrays[f"out/{measure}/grad_norm"], rtol=1e-5, atol=1e-8)


@pytest.mark.parametrize("measure", ["corr", "signcorr"])
def test_directions_are_the_perturbations_of_the_original(measure: Any) -> None:
    arrays, meta = golden("lambda_darts")
    slopes = arrays["out/layer_gradients/normal"]
    found = LayerAlignment(measure=measure).directions(slopes)
    check(found, arrays[f"out/{measure}/perturbation"].flatten(1), **meta["tolerances"]["gradient"])
    check(1e-3 / found.norm(), arrays[f"out/{measure}/epsilon"], **meta["tolerances"]["gradient"])


def test_small_differences_are_the_exact_form() -> None:
    exact, near = Replay().regularised(), Replay(form="differences", radius=1e-6).regularised()
    for name, slope in near.items():
        check(slope, exact[name], rtol=1e-4, atol=1e-6)


def test_the_alignment_is_that_of_the_original() -> None:
    arrays, meta = golden("lambda_darts")
    check(
        alignment(arrays["out/layer_gradients/normal"]),
        arrays["out/train_correlation"],
        **meta["tolerances"]["forward"],
    )


def loops(slopes: Tensor, measure: str) -> float:
    found = []
    for one, other in combinations(slopes.tolist(), 2):
        dot = sum(a * b for a, b in zip(one, other, strict=True))
        if measure == "corr":
            most = (sum(a * a for a in one) * sum(b * b for b in other)) ** 0.5
        else:
            most = sum(abs(a) * abs(b) for a, b in zip(one, other, strict=True))
        found.append(dot / most if most else 0.0)
    return sum(found) / len(found)


@pytest.mark.parametrize("measure", ["corr", "signcorr"])
def test_alignment_and_its_directions_against_loops_and_differences(measure: Any) -> None:
    slopes = torch.randn(4, 7, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    assert float(alignment(slopes, measure)) == pytest.approx(loops(slopes, measure), rel=1e-12)
    found = LayerAlignment(measure=measure).directions(slopes)
    assert not found.requires_grad
    for row, column in ((0, 0), (3, 6), (1, 2)):
        bump = torch.zeros_like(slopes)
        bump[row, column] = 1e-6
        slope = (loops(slopes + bump, measure) - loops(slopes - bump, measure)) / 2e-6
        assert float(found[row, column]) == pytest.approx(slope, rel=1e-6, abs=1e-9)
    slopes[1] = 0  # a cell that nothing reaches agrees with none
    assert float(alignment(slopes, measure)) == pytest.approx(loops(slopes, measure), rel=1e-12)
    assert LayerAlignment(measure=measure).directions(slopes).isfinite().all()
    assert float(alignment(slopes[:1].expand(3, -1), measure)) == pytest.approx(1.0)


SPACES: dict[str, dict[str, Any]] = {
    "S3": {"space": "S3", "layers": 5}, "NASBench201": {"space": "NASBench201", "cells": 1},
    "PC-DARTS": {"space": "S2", "layers": 4, "connection": PartialChannels(2), "edge_weights": True},
}  # fmt: skip


def ready(space: str, **options: Any) -> tuple[Any, Batch, dict[str, Mixture]]:
    torch.manual_seed(0)
    module = LambdaDARTS(LayerAlignment(0.5, **options), channels=4, alpha_init=1.0, **SPACES[space]).double()
    batch = Batch(torch.randn(6, 3, 8, 8).double(), torch.tensor([3, 1, 4, 1, 5, 9]), torch.tensor(0))
    mixtures = {kind: m.detach() for kind, m in at(module, 2, 5).mixtures(module.context("weights")).items()}
    return module, batch, mixtures


def measured(module: Any, batch: Batch, mixtures: dict[str, Mixture]) -> float:
    """The alignment of the cells, by one backward pass to a mixture of each."""
    kinds, name = module.supernet.body.kinds, module.supernet.body.kinds[0]
    given = {f"{kind}.{k}": mixtures[kind] for k, kind in enumerate(kinds)}
    leaves = {key: m.operations.clone().requires_grad_() for key, m in given.items() if key.startswith(name)}
    given |= {key: replace(given[key], operations=leaf) for key, leaf in leaves.items()}
    with frozen_batchnorm_statistics(module.supernet):
        loss = cross_entropy(module.supernet(batch.images, given), batch.targets)
    slopes = torch.autograd.grad(loss, list(leaves.values()))
    return loops(torch.stack([slope.flatten() for slope in slopes]), "corr")


@pytest.mark.parametrize("space", SPACES)
def test_the_gradient_is_the_difference_of_the_alignment(space: str) -> None:
    module, batch, mixtures = ready(space)
    weights = dict(module.supernet.named_parameters())
    slopes = {name: torch.zeros_like(weight) for name, weight in weights.items()}
    random, buffers = torch.get_rng_state(), {n: b.clone() for n, b in module.supernet.named_buffers()}
    module.hooks["layer_alignment"].weight_slopes(slopes, batch, mixtures)
    assert torch.equal(torch.get_rng_state(), random)
    assert all(torch.equal(buffer, buffers[name]) for name, buffer in module.supernet.named_buffers())
    generator = torch.Generator().manual_seed(1)
    way = {name: torch.randn(weight.shape, generator=generator).double() for name, weight in weights.items()}

    def move(distance: float) -> None:
        with torch.no_grad():
            for name, weight in weights.items():
                weight.add_(distance * way[name])

    values = []
    for distance in (1e-7, -2e-7):
        move(distance)
        values.append(measured(module, batch, mixtures))
    move(1e-7)
    along = sum(float((slopes[name] * way[name]).sum()) for name in slopes)
    rise = (values[0] - values[1]) / 2e-7
    assert along == pytest.approx(-0.25 * rise, rel=2e-5)  # half of the weight in epoch 2 of 5
    before = measured(module, batch, mixtures)
    with torch.no_grad():
        for name, weight in weights.items():
            weight.sub_(1e-6 / torch.nn.utils.get_total_norm(slopes.values()) * slopes[name])
    assert measured(module, batch, mixtures) > before


def test_mixtures_of_each_cell_are_taken_as_they_are() -> None:
    module, batch, mixtures = ready("NASBench201")
    found = []
    for given in (mixtures, {f"cell.{k}": mixtures["cell"] for k in range(3)}):
        slopes = {name: torch.zeros_like(weight) for name, weight in module.supernet.named_parameters()}
        module.hooks["layer_alignment"].weight_slopes(slopes, batch, given)
        found.append(slopes)
    assert all(torch.equal(found[0][name], found[1][name]) for name in found[0])


def test_differences_see_the_paths_that_were_dropped_once() -> None:
    module, batch, mixtures = ready("NASBench201", form="differences", radius=1e-6)
    module.drop_path = 0.8
    found = []
    for form in ("differences", "exact"):
        torch.manual_seed(3)
        module.hooks["layer_alignment"].part = LayerAlignment(0.5, form=form, radius=1e-6)  # type: ignore[arg-type]
        slopes = {name: torch.zeros_like(weight) for name, weight in module.supernet.named_parameters()}
        module.hooks["layer_alignment"].weight_slopes(slopes, batch, mixtures)
        found.append(torch.cat([slope.flatten() for slope in slopes.values()]))
    assert float((found[0] - found[1]).norm() / found[1].norm()) < 1e-3


def test_the_weight_grows_linearly_from_zero() -> None:
    generator = torch.Generator()
    weights = [LayerAlignment(0.2).weight(StepContext("weights", e, 5, generator)) for e in range(6)]
    assert weights == pytest.approx([0.0, 0.05, 0.1, 0.15, 0.2, 0.2])  # epochs of a selection come after the last one
    assert LayerAlignment(0.2).weight(StepContext("weights", 0, 1, generator)) == 0


SMALL: dict[str, Any] = {"space": "NASBench201", "cells": 1, "channels": 4, "image_channels": 1, "arch_lr": 0.03}
PARTS: dict[str, dict[str, Any]] = {
    "DARTS": {}, "SDARTS-RS": {"perturbation": RandomPerturbation(), "drop_path": 0.2},
    "PC-DARTS": {"connection": PartialChannels(2), "edge_weights": True, "step_order": "weights_first"},
}  # fmt: skip


@pytest.mark.parametrize("name", with_slow(PARTS, ["DARTS", "SDARTS-RS"]))
def test_a_weight_of_zero_is_darts_bit_for_bit(tmp_path: Path, name: str) -> None:
    parts = PARTS[name]
    searches = [DARTS(**SMALL, **parts), LambdaDARTS(LayerAlignment(0.0), **SMALL, **parts)]
    plain, neutral = (fit(tmp_path / type(m).__name__, m, max_epochs=2, limit_train_batches=3) for m in searches)
    assert differing(state(plain), state(neutral)) == []


@pytest.mark.parametrize("form", with_slow(["exact", "differences"], ["differences"]))
def test_the_first_epoch_is_that_of_darts_and_the_second_is_not(tmp_path: Path, form: Any) -> None:
    searches = [DARTS(**SMALL), LambdaDARTS(LayerAlignment(0.5, form=form), **SMALL)]
    states: list[list[dict[str, Tensor]]] = [[], []]

    class AtEnd(Callback):
        def __init__(self, held: list[dict[str, Tensor]]) -> None:
            self.held = held

        def on_train_epoch_end(self, trainer: Trainer, *_: Any) -> None:
            self.held.append(state(trainer))

    for module, held in zip(searches, states, strict=True):
        fit(tmp_path / type(module).__name__, module, max_epochs=2, limit_train_batches=3, callbacks=[AtEnd(held)])
    assert differing(states[0][0], states[1][0]) == []
    changed = set(differing(states[0][1], states[1][1]))
    assert {name for name, _ in searches[0].named_parameters()} <= changed


@pytest.mark.parametrize(
    ("parts", "said"),
    [
        ({"space": "DARTS", "layers": 3}, "at least 2 cells of the kind 'normal' .* got 1 of 3 cells"),
        (
            {"space": "MobileSmall"},
            "cells that share α .* got MobileSmall, whose blocks have an edge each",
        ),
        ({"relaxation": GumbelOneHot()}, "`relaxation` to compute all operations .* got `GumbelOneHot`, which samples"),
        ({"relaxation": BinaryGates()}, "`relaxation` to compute all operations .* got `BinaryGates`, which samples"),
    ],
)
def test_what_makes_no_sense_is_refused(parts: dict[str, Any], said: str) -> None:
    size = {} if "space" in parts else {"space": "NASBench201", "cells": 1}
    with pytest.raises(ValueError, match=f"Expected .*{said}"):
        LambdaDARTS(channels=4, **size, **parts)
    LambdaDARTS(space="DARTS", layers=4, channels=4)


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("weight_end", -0.1, "zero or more, but got -0.1"),
        ("weight_end", float("nan"), "zero or more, but got nan"),
        ("radius", 0.0, "positive, but got 0.0"),
        ("measure", "cos", "'corr' or 'signcorr', but got 'cos'"),
        ("form", "fd", "'exact' or 'differences', but got 'fd'"),
    ],
)
def test_arguments_out_of_range_are_refused(name: str, value: Any, said: str) -> None:
    with pytest.raises(ValueError, match=f"^Expected `{name}` to be {said}"):
        LayerAlignment(**{name: value})
