"""Protects searchers that train networks: scores after each epoch, and successive halving by Ray Tune."""

from __future__ import annotations

import importlib
import importlib.util
import random
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from robustnas.cli.configuration import configuration
from robustnas.networks import ResNet
from robustnas.networks.resnet import channels_for
from robustnas.runs.record import Run
from robustnas.spaces import Genotype, NASBench201, encode, random_genotype
from robustnas.studies.searchers import RandomSearch, SuccessiveHalving
from robustnas.studies.searchers.training import Report, Training

RAY = importlib.util.find_spec("ray") is not None
RECIPE = [
    "--config=evaluate_nasbench201.yaml", "--data=Digits", "--data.batch_size=16", "--data.fractions=[0.06,0.04,0.04]",
    "--model.architecture.genotype=genotype", "--model.architecture.space=NASBench201",
    "--model.architecture.channels=4", "--model.architecture.cells=1", "--model.lr=0.1", "--model.drop_path=0",
    "--trainer.accelerator=cpu", "--trainer.enable_progress_bar=false",
]  # fmt: skip


@pytest.fixture(scope="module")
def recipe() -> dict[str, Any]:
    return configuration(RECIPE)


def test_an_architecture_is_trained_and_validated_after_every_epoch(recipe: dict[str, Any], tmp_path: Path) -> None:
    genotype = random_genotype(NASBench201, random.Random(4))
    told: list[tuple[int, float]] = []
    Training(recipe, tmp_path).train(genotype, 3, lambda epoch, score: told.append((epoch, score)))
    assert [epoch for epoch, _ in told] == [1, 2, 3]
    place = tmp_path / str(encode(genotype, NASBench201))
    rows = [line.split(",") for line in (place / "run" / "metrics.csv").read_text(encoding="utf-8").splitlines()]
    column = rows[0].index("val/top1")
    assert [float(row[column]) for row in rows[1:]] == pytest.approx([score for _, score in told])
    assert Run(place).genotype() == genotype
    assert not (place / "run" / "test.json").exists()
    assert Training(recipe, tmp_path / "again")(genotype, 3) == told[-1][1]


@pytest.mark.slow
def test_random_search_trains_what_it_draws(recipe: dict[str, Any], tmp_path: Path) -> None:
    trace = RandomSearch(2).run(NASBench201, random.Random(0), Training(recipe, tmp_path / "search"))
    training = Training(recipe, tmp_path / "again")
    assert [one.score for one in trace.observations] == [training(one.genotype, 1) for one in trace.observations]
    with pytest.raises(ValueError, match=r"^Expected val/top9 to be logged after an epoch, but got .*val/top1"):
        Training(recipe, tmp_path / "wrong", metric="val/top9")(trace.observations[0].genotype, 1)


@pytest.mark.parametrize(("blocks", "channels"), [(1, 1), (3, 1), (1, 3)])
def test_a_residual_network_of_a_given_size(blocks: int, channels: int) -> None:
    sizes = {width: sum(p.numel() for p in ResNet(width, blocks, 7, channels).parameters()) for width in range(2, 14)}
    for wanted in (1, sizes[2], sizes[5] - 3, sizes[7] + 40, (sizes[8] + 2 * sizes[9]) // 3, sizes[12]):
        found = channels_for(wanted, blocks, 7, channels)
        assert abs(sizes[found] - wanted) == min(abs(size - wanted) for size in sizes.values())


def test_without_ray_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(ValueError, match=r"^Expected Ray Tune .* not installed; `pip install robustnas\[ray\]`\.$"):
        SuccessiveHalving(2, 2, factor=2).halve(NASBench201, random.Random(0), lambda genotype, epochs, report: None)
    for options, words in (
        ({"evaluations": 0}, "`evaluations` of SuccessiveHalving to be a whole number from 1, but got 0"),
        ({"factor": 1}, "`factor` to be at least 2, but got 1"),
        ({"grace": 9}, "`grace` to be at most `epochs`, but got 9 and 4"),
        ({"max_concurrent": 0}, "`max_concurrent` of SuccessiveHalving to be a whole number from 1, but got 0"),
    ):
        with pytest.raises(ValueError, match=f"^Expected {words}"):
            SuccessiveHalving(**{"evaluations": 4, "epochs": 4, **options})


@pytest.fixture
def shipped() -> None:
    """Workers of Ray cannot import this file, so that its functions travel whole."""
    importlib.import_module("ray").cloudpickle.register_pickle_by_value(sys.modules[__name__])


def planted(genotype: Genotype, epochs: int, report: Report) -> None:
    """A training whose score rises to a level that is the number of the architecture."""
    for epoch in range(1, epochs + 1):
        report(epoch, encode(genotype, NASBench201) * epoch / epochs)


@pytest.mark.slow
@pytest.mark.skipif(not RAY, reason="Ray is not installed: pip install robustnas[ray]")
@pytest.mark.usefixtures("shipped")
def test_successive_halving_stops_the_worse_ones(tmp_path: Path) -> None:
    halving = SuccessiveHalving(evaluations=12, epochs=9, grace=1, factor=3)
    trace = halving.halve(NASBench201, random.Random(0), planted, folder=str(tmp_path))
    draw, drawn = random.Random(0), []
    while len(drawn) < 12:
        drawn += [one] if (one := random_genotype(NASBench201, draw)) not in drawn else []
    assert [trial.genotype for trial in trace.observations] == drawn
    assert {trial.budget for trial in trace.observations} <= {1, 3, 9}
    assert trace.observations[-1].spent < 12 * 9
    best = max(drawn, key=lambda one: encode(one, NASBench201))
    assert trace.incumbent.genotype == best
    assert (trace.incumbent.budget, trace.incumbent.score) == (9, encode(best, NASBench201))
    for trial in trace.observations:
        assert trial.score == encode(trial.genotype, NASBench201) * trial.budget / 9
    rungs: dict[int, list[float]] = {1: [], 3: []}  # one at a time: who is below the best third so far stops
    for trial in trace.observations:
        reached = 9
        for rung, before in rungs.items():
            score = encode(trial.genotype, NASBench201) * rung / 9
            stops = bool(before) and score < np.percentile(before, 100 * 2 / 3)
            before.append(score)
            if stops:
                reached = rung
                break
        assert trial.budget == reached
    with pytest.raises(ValueError, match="none did: "):
        SuccessiveHalving(2, 2, factor=2).halve(NASBench201, random.Random(0), _failing)


def _failing(genotype: Genotype, epochs: int, report: Report) -> None:
    raise RuntimeError("no such luck")


@pytest.mark.slow
@pytest.mark.skipif(not RAY, reason="Ray is not installed: pip install robustnas[ray]")
def test_successive_halving_trains_networks(recipe: dict[str, Any], tmp_path: Path) -> None:
    training = Training(recipe, tmp_path / "halving")
    trace = SuccessiveHalving(evaluations=3, epochs=2, factor=2).halve(NASBench201, random.Random(1), training.train)
    assert {one.budget for one in trace.observations} <= {1, 2}
    assert trace.incumbent.budget == 2
    assert trace.incumbent.score == pytest.approx(Training(recipe, tmp_path / "again")(trace.incumbent.genotype, 2))
