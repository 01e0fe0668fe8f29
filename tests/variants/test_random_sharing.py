"""Random search with weight sharing: uniform paths, and the best of what is drawn."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import torch
from pytorch_lightning.callbacks import ModelCheckpoint
from robustnas.variants import RandomSharing
from runs import fit
from scipy.stats import chisquare

from robustnas.networks.batchnorm_statistics import evaluating
from robustnas.networks.mixture import one_hots
from robustnas.runs.record import Run
from robustnas.spaces import (
    DARTS,
    S3,
    Choice,
    DARTSSingleCell,
    Genotype,
    MobileSmall,
    NASBench201,
    SearchSpace,
    complete_cell,
    num_architectures,
)
from robustnas.strategies import BestOfSampled, StepContext, UniformOneHot
from robustnas.training import SearchModule, load

TINY = SearchSpace(
    "Tiny",
    {
        "normal": complete_cell(2, 2, ("a", "b", "none"), (2, 3), keep=2, never_selected=("none",)),
        "reduce": complete_cell(2, 1, ("a", "b"), (2,), reduction=True, keep=1),
    },
)


def path(space: SearchSpace, seed: int, alphas: dict[str, torch.Tensor] | None = None) -> Genotype:
    """The architecture of a weight step, read from its mixtures."""
    generator, cells = torch.Generator().manual_seed(seed), {}
    for kind, cell in space.cells.items():
        alpha = alphas[kind] if alphas else torch.randn(cell.shape)
        mixture = (
            UniformOneHot().mixture(alpha, StepContext("weights", 0, 1, generator, cell=cell)).validate(kind, cell)
        )
        assert mixture.active is not None
        assert torch.equal(mixture.operations, mixture.active.to(mixture.operations.dtype))
        rows, columns = mixture.active.nonzero().T.tolist()
        chosen = [(cell.edges[row], column) for row, column in zip(rows, columns, strict=True)]
        cells[kind] = tuple(Choice(edge.source, edge.node, edge.operations[column]) for edge, column in chosen)
    return Genotype(space.name, cells).validate(space)


@pytest.mark.parametrize("space", [DARTS, S3, NASBench201, MobileSmall, DARTSSingleCell], ids=lambda space: space.name)
def test_every_path_is_an_architecture_of_the_space(space: SearchSpace) -> None:
    assert len({path(space, seed) for seed in range(20)}) > 10


def test_paths_are_uniform_and_do_not_see_alpha() -> None:
    alphas = {kind: 9 * torch.randn(cell.shape) for kind, cell in TINY.cells.items()}
    found = Counter(path(TINY, seed, alphas) for seed in range(3000))
    assert len(found) == num_architectures(TINY) == 4 * 12 * 4
    assert chisquare(list(found.values())).pvalue > 0.01


def test_alpha_gets_no_gradient_and_what_left_is_not_drawn() -> None:
    alpha = torch.zeros(6, 5, requires_grad=True)
    (cell,) = NASBench201.cells.values()
    for seed in range(20):
        context = StepContext("arch", 0, 1, torch.Generator().manual_seed(seed), cell=cell)
        legal = alpha.masked_fill(torch.arange(5) > 1, -torch.inf)
        mixture = UniformOneHot().mixture(legal, context)
        assert mixture.operations[:, 2:].sum() == 0
        (gradient,) = torch.autograd.grad((mixture.operations**2).sum(), alpha)
        assert torch.equal(gradient, torch.zeros_like(alpha))
    shares = UniformOneHot().shares(legal.detach() + torch.randn(6, 1))
    assert torch.allclose(shares, torch.tensor([0.5, 0.5, 0, 0, 0]).expand(6, 5))


def small(**options: Any) -> RandomSharing:
    selection = BestOfSampled(**{"samples": 8, "batch_statistics": False, **options.pop("selection", {})})
    given = {"space": "NASBench201", "channels": 4, "cells": 1, "image_channels": 1}
    return RandomSharing(selection=selection, **{**given, **options})


def sampled(module: Any) -> list[dict[str, Any]]:
    """The architectures that a search has measured, with their scores."""
    found: list[dict[str, Any]] = module.hooks["one_shot_selection"].found.record["sampled.json"]["sampled"]
    return found


@pytest.mark.parametrize("criterion", ["accuracy", "loss"])
def test_the_result_is_the_best_of_the_sample(tmp_path: Path, criterion: str) -> None:
    module = small(selection={"criterion": criterion})
    alphas = {name: parameter.detach().clone() for name, parameter in module.alphas.items()}
    saver = ModelCheckpoint(tmp_path, "last", save_on_train_epoch_end=True)
    running = fit(tmp_path / "run", module, max_epochs=2, callbacks=[saver])
    assert all(torch.equal(module.alphas[kind], alpha) for kind, alpha in alphas.items())

    data: Any = running.datamodule  # type: ignore[attr-defined]
    indices, part = data.split.union("selection"), data.split.part("selection")
    images, targets = data.prepare(
        data.transfer_batch_to_device(_batch(part, indices), module.device, 0), augment=False
    )[:2]
    measured = []
    with torch.no_grad(), evaluating(module.supernet):
        for one in sampled(module):
            genotype = Genotype.from_text(one["genotype"])
            outputs = module.supernet(images, one_hots(module.space, genotype, module.alphas["cell"]))
            accuracy = float((outputs.argmax(1) == targets).double().mean())
            loss = float(torch.nn.functional.cross_entropy(outputs, targets))
            assert one["accuracy"] == pytest.approx(accuracy)
            assert one["loss"] == pytest.approx(loss, rel=1e-4)
            measured.append(accuracy if criterion == "accuracy" else -loss)
    assert len(set(measured)) > 2
    best = Genotype.from_text(sampled(module)[max(range(8), key=measured.__getitem__)]["genotype"])
    assert module.genotype() == best == Run(tmp_path / "run").genotype()
    record = json.loads((tmp_path / "run" / "sampled.json").read_text(encoding="utf-8"))
    assert record["best"] == str(best)
    assert record["sampled"] == sampled(module)
    assert load(tmp_path / "last.ckpt", SearchModule).genotype() == best  # type: ignore[attr-defined]


def _batch(part: Any, indices: Any) -> Any:
    from robustnas.data import Batch

    return Batch(part.pixels[indices], part.targets[indices], torch.tensor(0))


def test_a_search_that_goes_on_draws_again(tmp_path: Path) -> None:
    saver = ModelCheckpoint(tmp_path, "{epoch}", save_top_k=-1, save_on_train_epoch_end=True)
    whole = small()
    fit(tmp_path / "whole", whole, max_epochs=2)
    short = small()
    fit(tmp_path / "short", short, max_epochs=1, callbacks=[saver])
    more = small()
    fit(tmp_path / "more", more, tmp_path / "epoch=0.ckpt", max_epochs=2)
    assert [one["genotype"] for one in sampled(more)] == [one["genotype"] for one in sampled(short)]  # of the seed
    assert [one["loss"] for one in sampled(more)] != [one["loss"] for one in sampled(short)]
    assert len(sampled(more)) == len(sampled(whole)) == 8


def test_a_sample_is_distinct_and_of_its_seed() -> None:
    part = BestOfSampled(samples=300)
    found = part.drawn(TINY, 1, {})
    assert len(found) == len(set(found)) == num_architectures(TINY)  # all there are
    assert BestOfSampled(samples=9).drawn(DARTS, 1, {}) == BestOfSampled(samples=9).drawn(DARTS, 1, {})
    assert BestOfSampled(samples=9).drawn(DARTS, 1, {}) != BestOfSampled(samples=9).drawn(DARTS, 2, {})


def test_what_makes_no_sense_is_one_sentence() -> None:
    for options, words in (
        ({"samples": 0}, "`samples` to be at least 1, but got 0"),
        ({"criterion": "speed"}, "`criterion` to be 'accuracy' or 'loss', but got 'speed'"),
        ({"source": "beta"}, "`source` to be 'uniform' or 'alpha', but got 'beta'"),
    ):
        with pytest.raises(ValueError, match=f"^Expected {words}"):
            BestOfSampled(**options)
