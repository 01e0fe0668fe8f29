"""Measures that read gradients, against plain backward passes and finite differences."""

from __future__ import annotations

from dataclasses import replace
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
import torch
from pytorch_lightning import Callback
from robustnas.diagnostics import ArchGradient, GradientMatch, LayerAlignment
from robustnas.diagnostics.alignment import by_cell
from robustnas.diagnostics.gradient_match import weights_by_operation
from robustnas.variants import GDAS
from runs import digits, fit, rows, search

from robustnas.data import Probe
from robustnas.networks.batchnorm_statistics import frozen_batchnorm_statistics
from robustnas.networks.cell import Cell, MixtureWeights


@pytest.fixture
def exact() -> None:
    torch.set_default_dtype(torch.float64)


def ready(space: str, **options: Any) -> tuple[Any, Probe]:
    data = digits()
    data.setup("fit")
    module = search(space, **options)
    for alpha in module.alphas.values():
        alpha.data.normal_()
    module.train()
    return module, Probe(data, torch.device("cpu"), torch.get_default_dtype())


def slope_of_alpha(module: Any, batches: list[Any]) -> dict[str, torch.Tensor]:
    """The gradient in α by a plain backward pass."""
    for alpha in module.alphas.values():
        alpha.grad = None
    with frozen_batchnorm_statistics(module.supernet):
        for batch in batches:
            outputs = module.supernet(batch.images, module.mixtures(module.context("arch")))
            (module.loss_of(outputs, batch.targets) / len(batches)).backward()
    return {kind: alpha.grad for kind, alpha in module.alphas.items()}


class Noted(Callback):
    """Notes the gradient of α at every step."""

    def __init__(self) -> None:
        self.slopes: list[torch.Tensor] = []

    def on_train_batch_end(self, trainer: Any, pl_module: Any, *_: Any) -> None:
        self.slopes.append(torch.cat([alpha.grad.flatten() for alpha in pl_module.alphas.values()]))


def test_the_norm_is_that_of_the_mean_gradient_of_the_epoch(tmp_path: Path) -> None:
    noted = Noted()
    running = fit(tmp_path, search("S2"), max_epochs=2, callbacks=[ArchGradient(), noted])
    norms = [row["gradient/alpha_norm"] for row in rows(running)]
    steps = len(noted.slopes) // 2
    wanted = [torch.stack(part).mean(0).norm() for part in (noted.slopes[:steps], noted.slopes[steps:])]
    assert norms == pytest.approx([float(norm) for norm in wanted], rel=1e-5)


def test_a_search_whose_alpha_stands_still_has_no_norm(tmp_path: Path) -> None:
    running = fit(tmp_path, search(arch_start=1), max_epochs=1, callbacks=[ArchGradient()])
    assert "gradient/alpha_norm" not in rows(running)[0]


@pytest.mark.usefixtures("exact")
@pytest.mark.parametrize("space", ["S2", "NASBench201"])
def test_the_parts_of_the_cells_add_up_to_the_gradient(space: str) -> None:
    module, probe = ready(space)
    batch = probe.batches("arch", 1)[0]
    parts = by_cell(module, batch)
    slopes = slope_of_alpha(module, [batch])
    kinds = [kind for kind, own in parts.items() for _ in own]
    assert len(kinds) == sum(isinstance(part, Cell) for part in module.supernet.modules())
    for kind, own in parts.items():
        assert torch.allclose(sum(own), slopes[kind], rtol=1e-9, atol=1e-12)


@pytest.mark.usefixtures("exact")
def test_the_part_of_one_cell_is_its_finite_difference() -> None:
    module, probe = ready("NASBench201")
    batch = probe.batches("arch", 1)[0]
    parts = by_cell(module, batch)["cell"]
    cells = [part for part in module.supernet.modules() if isinstance(part, Cell)]
    assert len(parts) == len(cells) == 3

    def loss_with(cell: Cell, moved: torch.Tensor) -> float:
        mixture = module.relaxation.mixture(moved, module.context("arch"))
        hook = cell.register_forward_pre_hook(
            lambda _, arguments: (arguments[0], MixtureWeights(mixture), *arguments[2:])
        )
        with torch.no_grad(), frozen_batchnorm_statistics(module.supernet):
            outputs = module.supernet(batch.images, module.mixtures(module.context("arch")))
        hook.remove()
        return float(module.loss_of(outputs, batch.targets))

    step = 1e-6
    alpha = module.alphas["cell"].detach()
    for part, cell in zip(parts, cells, strict=True):
        for row, column in ((0, 3), (4, 1)):
            bump = torch.zeros_like(alpha)
            bump[row, column] = step
            slope = (loss_with(cell, alpha + bump) - loss_with(cell, alpha - bump)) / (2 * step)
            assert float(part[row, column]) == pytest.approx(slope, rel=1e-4, abs=1e-8)


def test_alignment_is_the_mean_cosine_of_pairs() -> None:
    module, probe = ready("NASBench201")
    parts = by_cell(module, probe.batches("arch", 1)[0])["cell"]
    cosines = [torch.cosine_similarity(a.flatten(), b.flatten(), dim=0) for a, b in combinations(parts, 2)]
    values = LayerAlignment().measure(module, probe)
    assert values == {"gradient/alignment_cell": pytest.approx(float(torch.stack(cosines).mean()), rel=1e-4)}
    assert set(LayerAlignment().measure(*ready("S2"))) == {"gradient/alignment_reduce"}  # one normal cell of three


def test_every_candidate_weight_belongs_to_one_operation() -> None:
    module, _ = ready("DARTS")
    groups = weights_by_operation(module)
    assert set(groups) >= {"sep_conv_3x3", "sep_conv_5x5", "dil_conv_3x3", "dil_conv_5x5"}
    assert not {"none", "max_pool_3x3", "avg_pool_3x3"} & set(groups)
    listed = [id(weight) for own in groups.values() for weight in own]
    assert len(listed) == len(set(listed))
    names = {id(weight): name for name, weight in module.supernet.named_parameters()}
    assert {name for i in listed if ".edge." in (name := names[i])} == {n for n in names.values() if ".edge." in n}


@pytest.mark.usefixtures("exact")
def test_the_match_is_the_cosine_of_two_backward_passes() -> None:
    module, probe = ready("S2")
    values = GradientMatch(batches=2).measure(module, probe)
    groups = weights_by_operation(module)
    slopes = []
    for role in ("weights", "arch"):
        module.supernet.zero_grad()
        with frozen_batchnorm_statistics(module.supernet):
            for batch in probe.batches(role, 2):
                mixtures = {k: replace(m.detach()) for k, m in module.mixtures(module.context("weights")).items()}
                module.loss_of(module.supernet(batch.images, mixtures), batch.targets).backward()
        slopes.append({name: torch.cat([w.grad.flatten() for w in own]) for name, own in groups.items()})
    for name in groups:
        cosine = torch.cosine_similarity(slopes[0][name], slopes[1][name], dim=0)
        assert values[f"gradient/match_{name}"] == pytest.approx(float(cosine), rel=1e-9)
    assert -1 <= values["gradient/match"] <= 1


def test_operations_that_were_not_drawn_have_no_match() -> None:
    data = digits()
    data.setup("fit")
    module = GDAS(space="NASBench201", channels=4, cells=1, image_channels=1)
    module.alphas["cell"].data[:, 2] = 100.0  # every edge draws the 1 x 1 convolution
    module.train()
    values = GradientMatch().measure(module, Probe(data, torch.device("cpu")))
    assert "gradient/match_nor_conv_1x1" in values
    assert "gradient/match_nor_conv_3x3" not in values


@pytest.mark.parametrize("kind", [LayerAlignment, GradientMatch])
def test_a_chain_of_blocks_has_no_cells_to_compare(kind: Any) -> None:
    data = digits()
    data.setup("fit")
    module = GDAS(space="MobileSmall", channels=8, image_channels=1)
    module.train()
    assert kind().measure(module, Probe(data, torch.device("cpu"))) == {}


@pytest.mark.parametrize("kind", [LayerAlignment, GradientMatch])
def test_bad_arguments(kind: Any) -> None:
    with pytest.raises(ValueError, match="Expected `batches` to be at least 1, but got 0"):
        kind(batches=0)
