"""Parts of several papers in one search, from YAML; and those that make no sense together."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from robustnas.__main__ import main
from robustnas.cli import lightning_cli
from robustnas.strategies import (
    AdversarialPerturbation,
    BinaryGates,
    GumbelOneHot,
    RandomPerturbation,
    ShareThreshold,
    SkipDominance,
    Softmax,
    Sparsemax,
    Strongest,
    Unperturbed,
    Unrolled,
)
from robustnas.strategies.selection import Selection
from robustnas.training import SearchModule
from robustnas.training.checks import without_effect

sys.path.insert(0, str(Path(__file__).parent / "training"))

from runs import fit

pytestmark = pytest.mark.usefixtures("few_samples", "no_pictures", "known_costs")

PARTIAL = {"class_path": "robustnas.networks.PartialChannels", "init_args": {"k": 2}}
WIDENING = {"class_path": "WideningChannels", "init_args": {"k": 4, "stages": [[1, 2]]}}
STAGED = {"class_path": "KeepStrongest", "init_args": {"stages": [[1, 3]], "rest": 0}}
SKIPPED = {"class_path": "AuxiliarySkip", "init_args": {"channels": PARTIAL}}
CURVATURE = {
    "class_path": "CurvatureRise",
    "init_args": {"window": 1, "lag": 1, "start": 0, "interval": 1, "samples": 4},
}
ADVERSARIAL = {"class_path": "AdversarialPerturbation", "init_args": {"steps": 2}}
DROP = {"class_path": "LargestDrop", "init_args": {"finetune": 1}}
AGREEMENT = {"class_path": "GradientAgreement", "init_args": {"threshold": 0.9, "interval": 2}}
ALIGNED = {"class_path": "LayerAlignment", "init_args": {"weight_end": 0.5}}
PRUNED = {"class_path": "ShareThreshold", "init_args": {"threshold_end": 0.5}}
ON_SIMPLEX = {"relaxation": "Direct", "arch_optimizer": "ExponentiatedGradient", "arch_weight_decay": 0.0}
COOLING = {"class_path": "Annealed", "init_args": {"relaxation": {"class_path": "Entmax"}, "start": 2.0, "end": 0.5}}

# Pairs beyond the papers: a variant, and what else it is asked to be. Names of classes as a user writes them.
PAIRS: dict[str, tuple[str, dict[str, Any]]] = {
    "PC-DARTS + SDARTS-ADV": ("PCDARTS", {"connection": PARTIAL, "perturbation": ADVERSARIAL}),
    "PC-DARTS + GDAS": ("PCDARTS", {"connection": PARTIAL, "relaxation": "GumbelOneHot"}),
    "PC-DARTS + Sparsemax": ("PCDARTS", {"connection": PARTIAL, "relaxation": "Sparsemax"}),
    "PC-DARTS + second order": ("PCDARTS", {"connection": PARTIAL, "gradient": "Unrolled"}),
    "PC-DARTS + CurvatureRise": ("PCDARTS", {"connection": PARTIAL, "stopping": CURVATURE}),
    "GDAS + second order": ("GDAS", {"gradient": "Unrolled"}),
    "GDAS + second order by differences": ("GDAS", {"gradient": "UnrolledByDifferences"}),
    "GDAS + entropy": ("GDAS", {"penalty": "EntropyPenalty"}),
    "GDAS + SkipDominance": ("GDAS", {"stopping": "SkipDominance"}),
    "GDAS + CurvatureRise": ("GDAS", {"stopping": CURVATURE}),
    "GDAS + edge weights": ("GDAS", {"edge_weights": True}),
    "GDAS + entropy + SkipDominance + edge weights": (
        "GDAS",
        {"penalty": "EntropyPenalty", "stopping": "SkipDominance", "edge_weights": True},
    ),
    "GDAS + pruning": ("GDAS", {"pruning": PRUNED}),
    "Sparsemax + CurvatureRise": ("SparsemaxDARTS", {"stopping": CURVATURE}),
    "Sparsemax + SDARTS-RS": ("SparsemaxDARTS", {"perturbation": "RandomPerturbation"}),
    "Sparsemax + sparsity": ("SparsemaxDARTS", {"penalty": "LpSparsity"}),
    "Sparsemax + second order": ("SparsemaxDARTS", {"gradient": "Unrolled"}),
    "FairDARTS + PC-DARTS": ("FairDARTS", {"connection": PARTIAL, "selection": "Strongest"}),
    "FairDARTS + pruning + second order": (
        "FairDARTS",
        {"pruning": PRUNED, "gradient": "Unrolled", "selection": "Strongest"},
    ),
    "FairDARTS + LargestDrop": ("FairDARTS", {"selection": DROP}),
    "FairDARTS + one level + edge weights": (
        "FairDARTS",
        {"gradient": "SingleLevel", "edge_weights": True, "selection": "Strongest"},
    ),
    "SNAS + PC-DARTS": ("SNAS", {"connection": PARTIAL}),
    "SNAS + CurvatureRise + entropy": ("SNAS", {"stopping": CURVATURE, "penalty": "EntropyPenalty"}),
    "SNAS + two levels": ("SNAS", {"gradient": "FirstOrder"}),
    "SNAS + LargestDrop": ("SNAS", {"selection": DROP}),
    "GDAS + one level": ("GDAS", {"gradient": "SingleLevel"}),
    "ProxylessNAS + one level": ("ProxylessNAS", {"gradient": "SingleLevel", "arch_every": 1}),
    "SDARTS-ADV + CurvatureRise": ("SmoothDARTS", {"perturbation": ADVERSARIAL, "stopping": CURVATURE}),
    "SDARTS-RS + second order": ("SmoothDARTS", {"perturbation": "RandomPerturbation", "gradient": "Unrolled"}),
    "RobustDARTS + sparsity + drop path": (
        "RobustDARTS",
        {"penalty": "LpSparsity", "drop_path": 0.2, "stopping": CURVATURE},
    ),
    "SDARTS-RS + pruning": ("SmoothDARTS", {"perturbation": "RandomPerturbation", "pruning": PRUNED}),
    "GDAS + LargestDrop": ("GDAS", {"selection": DROP}),
    "ProxylessNAS + LargestDrop": ("ProxylessNAS", {"selection": DROP, "arch_every": 1}),
    "PC-DARTS + LargestDrop": ("PCDARTS", {"connection": PARTIAL, "selection": DROP}),
    "ProxylessNAS + CurvatureRise": ("ProxylessNAS", {"stopping": CURVATURE, "arch_every": 1}),
    "DARTS- + PC-DARTS": ("DARTSMinus", {"connection": SKIPPED, "edge_weights": True}),
    "DARTS- + second order": ("DARTSMinus", {"gradient": "Unrolled"}),
    "DARTS- + GDAS": ("DARTSMinus", {"relaxation": "GumbelOneHot"}),
    "DARTS- + ProxylessNAS": ("ProxylessNAS", {"connection": "AuxiliarySkip", "arch_every": 1}),
    "DARTS- + SDARTS-ADV": ("DARTSMinus", {"perturbation": ADVERSARIAL}),
    "DARTS- + pruning": ("DARTSMinus", {"pruning": PRUNED}),
    "DARTS- + LargestDrop": ("DARTSMinus", {"selection": DROP}),
    "DARTS- + CurvatureRise": ("DARTSMinus", {"stopping": CURVATURE}),
    "GAEA + PC-DARTS": ("GAEA", {"connection": PARTIAL, "edge_weights": True}),
    "GAEA + SDARTS-RS": ("GAEA", {"perturbation": "RandomPerturbation"}),
    "GAEA + second order": ("GAEA", {"gradient": "Unrolled"}),
    "GAEA + CurvatureRise": ("GAEA", {"stopping": CURVATURE}),
    "GAEA + pruning": ("GAEA", {"pruning": PRUNED}),
    "GAEA + LargestDrop": ("GAEA", {"selection": DROP}),
    "PC-DARTS + GAEA": ("PCDARTS", {"connection": PARTIAL, **ON_SIMPLEX}),
    "DrNAS + PC-DARTS + DARTS- + stages": (
        "DrNAS",
        {"connection": SKIPPED, "edge_weights": True, "pruning": STAGED},
    ),
    "DrNAS + stages + widening + second order": (
        "DrNAS",
        {"connection": WIDENING, "pruning": STAGED, "gradient": "Unrolled"},
    ),
    "PC-DARTS + widening + LargestDrop": ("PCDARTS", {"connection": WIDENING, "selection": DROP}),
    "DrNAS + second order": ("DrNAS", {"gradient": "Unrolled"}),
    "DrNAS + SDARTS-ADV": ("DrNAS", {"perturbation": ADVERSARIAL}),
    "DrNAS + CurvatureRise": ("DrNAS", {"stopping": CURVATURE}),
    "DrNAS + LargestDrop": ("DrNAS", {"selection": DROP}),
    "ProxylessNAS + stages": ("ProxylessNAS", {"pruning": STAGED, "arch_every": 1}),
    "GDAS + stages": ("GDAS", {"pruning": STAGED}),
    "SDARTS-RS + annealed Entmax": ("SmoothDARTS", {"perturbation": "RandomPerturbation", "relaxation": COOLING}),
    "PC-DARTS + annealed Entmax": ("PCDARTS", {"connection": PARTIAL, "relaxation": COOLING}),
    "SDARTS-RS + β-DARTS": ("SmoothDARTS", {"perturbation": "RandomPerturbation", "penalty": "BetaDecay"}),
    "β-DARTS + PC-DARTS": ("BetaDARTS", {"connection": PARTIAL}),
    "β-DARTS + second order": ("BetaDARTS", {"gradient": "Unrolled"}),
    "β-DARTS + pruning": ("BetaDARTS", {"pruning": PRUNED}),
    "DA2S + PC-DARTS": ("DA2S", {"connection": PARTIAL}),
    "DA2S + annealed Entmax": ("DA2S", {"relaxation": COOLING}),
    "Λ-DARTS + PC-DARTS + second order": (
        "LambdaDARTS",
        {"weight_hook": ALIGNED, "connection": PARTIAL, "edge_weights": True, "gradient": "Unrolled"},
    ),
    "Λ-DARTS + SDARTS-RS + Sparsemax": (
        "LambdaDARTS",
        {"weight_hook": ALIGNED, "perturbation": "RandomPerturbation", "relaxation": "Sparsemax"},
    ),
    "OLES + PC-DARTS": ("OLES", {"weight_hook": AGREEMENT, "connection": PARTIAL, "edge_weights": True}),
    "OLES + SDARTS-ADV": ("SmoothDARTS", {"perturbation": ADVERSARIAL, "weight_hook": AGREEMENT}),
    "OLES + pruning + SkipDominance": (
        "OLES",
        {"weight_hook": AGREEMENT, "pruning": PRUNED, "stopping": "SkipDominance"},
    ),
    "ProxylessNAS + PC-DARTS": ("ProxylessNAS", {"connection": PARTIAL, "arch_every": 1}),
}


SAMPLED = [  # those that papers propose, and most parts once; the others take as long and show the same
    "PC-DARTS + SDARTS-ADV", "GDAS + entropy + SkipDominance + edge weights", "FairDARTS + pruning + second order",
    "SDARTS-RS + β-DARTS", "PC-DARTS + GAEA", "ProxylessNAS + LargestDrop", "DrNAS + PC-DARTS + DARTS- + stages",
    "OLES + PC-DARTS",
]  # fmt: skip


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[] if name in SAMPLED else pytest.mark.slow) for name in PAIRS]
)
def test_a_combination_beyond_the_papers_runs_from_yaml(tmp_path: Path, name: str) -> None:
    variant, parts = PAIRS[name]
    size = {"space": "NASBench201", "channels": 4, "cells": 1, "arch_start": 0, "alpha_init": 0.0}
    config = {
        "model": {"class_path": variant, "init_args": {**size, **parts}},
        "data": {"class_path": "Digits", "init_args": {"batch_size": 8}},
        "trainer": {
            "max_epochs": 2,
            "limit_train_batches": 2,
            "limit_val_batches": 1,
            "enable_progress_bar": False,
            "accelerator": "cpu",
        },
    }
    path = tmp_path / "mixed.yaml"
    path.write_text(yaml.safe_dump(config), encoding="utf-8")
    run = lightning_cli.main(["fit", "-c", str(path), f"--run-dir={tmp_path / 'run'}"])
    search: Any = run.model
    assert run.trainer.global_step >= 4
    assert all(parameter.isfinite().all() for parameter in search.parameters())
    moved = [bool((parameter != 0).any()) for parameter in search.arch_parameters]
    assert moved == [True] * (2 if search.betas else 1)  # from zero, where no weight decay moves it
    search.genotype().validate(search.space)
    for part, given in parts.items():
        wanted = given["class_path"].rpartition(".")[2] if isinstance(given, dict) else given
        assert not isinstance(wanted, str) or type(_held(search, part)).__name__ == wanted


def _held(search: Any, part: str) -> object:
    return search.architecture.connection if part == "connection" else getattr(search, part)


def small(**options: Any) -> SearchModule:
    space = {"space": "NASBench201", "cells": 1} | options
    return SearchModule(**{"channels": 4, **({"layers": 3} if space["space"] != "NASBench201" else {}), **space})


@pytest.mark.parametrize("perturbation", [RandomPerturbation(), AdversarialPerturbation()])
def test_there_is_nothing_to_perturb_on_one_path(perturbation: Any) -> None:
    with pytest.raises(ValueError, match=r"^Expected `perturbation` to be `Unperturbed` beside the relaxation `Gumbel"):
        small(relaxation=GumbelOneHot(), perturbation=perturbation)
    for relaxation in (Softmax(), Sparsemax()):
        small(relaxation=relaxation, perturbation=perturbation)
    small(relaxation=GumbelOneHot(), perturbation=Unperturbed())


def test_skips_cannot_be_counted_where_there_are_none() -> None:
    with pytest.raises(ValueError, match=r"^Expected `space` to have skip .* got S4, whose cell 'normal' has none\.$"):
        small(space="S4", cells=None, stopping=SkipDominance())
    for space in ("S1", "S2", "S3"):
        small(space=space, cells=None, stopping=SkipDominance())
    small(stopping=SkipDominance(max_skips=6))  # counts, and never stops


def test_one_path_of_gates_is_not_perturbed_either() -> None:
    with pytest.raises(ValueError, match="nothing to perturb"):
        small(relaxation=BinaryGates(), perturbation=RandomPerturbation())
    for mode in ("two", "full", "full_v2"):
        small(relaxation=BinaryGates(mode), gradient=Unrolled())


def test_a_combination_is_refused_before_anything_is_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ["--model=GDAS", "--model.space=NASBench201", "--model.perturbation=RandomPerturbation", "--data=Digits"]
    assert main(["fit", *options, f"--run-dir={tmp_path / 'run'}"]) == 1
    said = capsys.readouterr().err.strip()
    assert said.startswith("robustnas: Expected `perturbation` to be `Unperturbed`")
    assert "\n" not in said
    assert not (tmp_path / "run").exists()


class Blind(Selection):
    """A selection that does not read α."""

    def genotype(self, space: Any, strengths: Any) -> Any:
        return Strongest().genotype(space, {kind: torch.ones_like(held) for kind, held in strengths.items()})


def test_what_comes_after_the_last_epoch_is_said() -> None:
    search = small(arch_start=3, pruning=ShareThreshold(start=3))
    assert without_effect(search, 4) == []
    rests = "α does not move before epoch 3 of 3: the genotype is that of the random initial α."
    stays = "Pruning starts at epoch 3 of 3: no operation leaves."
    assert without_effect(search, 3) == [rests, stays]
    assert without_effect(small(arch_start=3, selection=Blind()), 3) == []
    assert without_effect(torch.nn.Linear(1, 1), 1) == []


def test_a_search_too_short_for_its_method_says_so_and_runs(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    fit(tmp_path, small(arch_start=2, image_channels=1), max_epochs=1)
    said = [record.getMessage() for record in caplog.records if record.name.startswith("robustnas")]
    assert said == ["α does not move before epoch 2 of 1: the genotype is that of the random initial α."]
