"""Searches in a chain of mobile blocks, with every relaxation, and what comes of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from pytorch_lightning.callbacks import ModelCheckpoint
from robustnas.variants import DARTS, GDAS
from runs import differing, digits, fit, state, trainer
from tables import with_slow

from robustnas.cost import Profiler
from robustnas.data import Digits
from robustnas.networks import PartialChannels
from robustnas.runs.record import Run, read_genotype, write_json
from robustnas.spaces import MobileSmall
from robustnas.strategies import (
    AdversarialPerturbation,
    BinaryGates,
    ExpectedCost,
    GumbelOneHot,
    RandomPerturbation,
    Softmax,
    Sparsemax,
    Unrolled,
)
from robustnas.training import EvaluationModule, Found, SearchModule

METHODS: dict[str, dict[str, Any]] = {
    "softmax": {"relaxation": Softmax()},
    "one sample": {"relaxation": GumbelOneHot()},
    "ghost gradient": {"relaxation": GumbelOneHot(ghost_gradient=True, evaluation="sampled")},
    "sparsemax": {"relaxation": Sparsemax()},
    "random": {"perturbation": RandomPerturbation()},
    "adversarial": {"perturbation": AdversarialPerturbation(steps=2)},
    "unrolled": {"gradient": Unrolled()},
    "binary gates": {"relaxation": BinaryGates("full_v2")},
    "checkpointing": {"checkpointing": True},
}


def search(**options: Any) -> DARTS:
    return DARTS(**{"space": "MobileSmall", "channels": 8, "image_channels": 1, "arch_lr": 0.1, **options})


@pytest.mark.parametrize("method", with_slow(METHODS, ["sparsemax", "random", "unrolled"]))  # these are not of a chain
def test_every_method_searches_the_chain(method: str, tmp_path: Path) -> None:
    module = search(**METHODS[method])
    before = {name: parameter.detach().clone() for name, parameter in module.named_parameters()}
    fit(tmp_path, module, limit_train_batches=2, limit_val_batches=1)
    still = {name for name, parameter in module.named_parameters() if torch.equal(parameter, before[name])}
    assert "alphas.chain" not in still
    assert "supernet.body.stem.conv.weight" not in still
    module.genotype().validate(MobileSmall)


def test_a_search_is_read_back_and_goes_on(tmp_path: Path) -> None:
    short: dict[str, Any] = {"max_epochs": 2, "limit_train_batches": 2, "limit_val_batches": 1}
    saver = ModelCheckpoint(tmp_path, "{step}", every_n_train_steps=1, save_top_k=-1)
    whole = fit(tmp_path, search(relaxation=GumbelOneHot()), callbacks=[saver], **short)
    middle = tmp_path / "step=3.ckpt"
    assert DARTS.load_from_checkpoint(middle).space == MobileSmall
    resumed = fit(tmp_path, search(relaxation=GumbelOneHot()), middle, **short)
    assert differing(state(resumed), state(whole)) == []


def test_what_is_found_is_trained_with_the_weights_of_the_search(tmp_path: Path) -> None:
    found = search()
    running = fit(tmp_path, found, limit_train_batches=1)
    running.save_checkpoint(tmp_path / "search.ckpt")
    Run(tmp_path / "run").write_genotype(found.genotype())
    assert read_genotype(str(tmp_path / "run")) == found.genotype()
    size = {"channels": 8, "inherit_from": str(tmp_path / "search.ckpt")}
    module = EvaluationModule(Found(str(tmp_path / "run"), **size), image_channels=1, drop_path=0.2, clip=0.0)
    weights = found.supernet.edgewise_state_dict()
    inherited = module.network.edgewise_state_dict()
    assert inherited.keys() <= weights.keys()
    assert all(torch.equal(value, weights[name]) for name, value in inherited.items())
    running = trainer(tmp_path, limit_train_batches=2, limit_val_batches=1, max_epochs=2)
    running.fit(module, digits())
    assert running.global_step == 4


def test_only_some_channels_cannot_take_part() -> None:
    with pytest.raises(ValueError, match="Expected `connection` to be `Full` in the space MobileSmall, whose blocks"):
        search(connection=PartialChannels(4))


def cheaper(folder: Path, form: Any, **options: Any) -> ExpectedCost:
    table = Profiler("MobileSmall", (1, 8, 8), channels=8).table(["flops"])
    write_json(folder / "costs.json", table.to_json())
    return ExpectedCost(str(folder / "costs.json"), 5e5, "flops", form, **options)


@pytest.mark.parametrize(
    ("form", "options", "variant"),
    [
        ("linear", {"weight": 100.0}, GDAS),
        pytest.param("log", {"factor": 1.0, "power": 100.0}, DARTS, marks=pytest.mark.slow),
    ],
)
def test_a_heavy_penalty_finds_the_cheapest_chain(tmp_path: Path, form: Any, options: Any, variant: Any) -> None:
    module = variant(
        space="MobileSmall", channels=8, image_channels=1, arch_lr=0.5, penalty=cheaper(tmp_path, form, **options)
    )
    before = module.penalty.expected(module.shares()).item()
    fit(tmp_path, module, limit_train_batches=12, limit_val_batches=1)
    assert module.penalty.expected(module.shares()).item() < 0.75 * before
    found = [choice.operation for choice in module.genotype().cells["chain"]]
    assert found == ["mbconv_3x3_3", "mbconv_3x3_3", "none", "mbconv_3x3_3", "none"]


def test_a_table_that_does_not_fit_is_refused_before_training(tmp_path: Path) -> None:
    penalty = cheaper(tmp_path, "linear")
    (tmp_path / "costs.json").write_text("{}", encoding="utf-8")
    module: SearchModule = search(penalty=penalty)
    with pytest.raises(ValueError, match=r"Expected .*costs.json to be a cost table that `robustnas profile` wrote"):
        trainer(tmp_path).fit(module, digits())
    other = search(penalty=cheaper(tmp_path, "linear"), space="S2", layers=3)
    with pytest.raises(ValueError, match=r"Expected a cost table of S2 in its present form, but got one of Mobile"):
        trainer(tmp_path).fit(other, Digits(batch_size=16))
