"""Protects the choice of a tuning from luck: the best trials train again with fresh seeds, and the untuned beside."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from refusals import refused, said
from trainings import Inline, write

from robustnas.__main__ import main
from robustnas.commands import tune
from robustnas.runs.record import write_text
from robustnas.runtime.csv_files import read_csv
from robustnas.statistics.intervals import mean_interval
from robustnas.tuning import confirming, plan
from robustnas.tuning.confirming import Confirmed, candidates, read_confirmed
from robustnas.tuning.file import Confirm, read_tuning
from robustnas.tuning.plan import Plan
from robustnas.tuning.results import Tried

pytest.importorskip("optuna", reason='optuna is not installed: pip install "robustnas[tune]"')

UNTUNED_LR = 0.1


class Lucky:
    """What `fit` is replaced by: with the seed of the trials every other step size looks better than it is."""

    def __init__(self) -> None:
        self.begun: list[tuple[str, int]] = []
        self.fails: Mapping[int, str] = {}
        self.stops_at: int | None = None

    def __call__(self, sections: Mapping[str, Any], folder: Path, seed: int, callbacks: Sequence[Any] = ()) -> None:
        self.begun.append((folder.parent.name, seed))
        if len(self.begun) == self.stops_at:
            raise KeyboardInterrupt
        if seed in self.fails:
            raise ValueError(self.fails[seed])
        lr = sections["model"]["init_args"]["lr"]
        value = score(lr, seed)
        for callback in callbacks:
            callback.value = value
        write_text(folder / "metrics.csv", f"epoch,step,seconds,val/top1\n0,1,1.0,{value}\n")


def score(lr: float, seed: int) -> float:
    if lr == UNTUNED_LR:
        return 0.5 + 0.01 * seed
    return 0.9 if seed == 0 else 0.4 + 0.02 * seed + 1e-3 * lr


@pytest.fixture
def lucky(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Lucky:
    made = Lucky()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("robustnas.tuning.run_trial.fit", made)
    monkeypatch.setattr(confirming, "fit", made)
    monkeypatch.setattr(plan, "_checked", lambda plan, metric: metric or "val/top1")  # builds networks
    monkeypatch.setattr(tune, "engine_of", lambda options, root: Inline())
    return made


def tuned(path: Path, trials: int = 4, **changed: Any) -> int:
    return main(["tune", write(path, trials=trials, **changed), "--folder", str(path / "t")])


def test_the_untuned_configuration_wins_where_the_trials_were_lucky(
    lucky: Lucky, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert tuned(tmp_path, confirm={"best": 2, "seeds": 3}) == 0
    told = capsys.readouterr().out
    assert "Confirming 3 configurations with 3 fresh seeds each ..." in told
    assert "With fresh seeds no trial was better than the configuration that is not tuned" in told
    text = (tmp_path / "t" / "best.yaml").read_text(encoding="utf-8")
    assert text.startswith("# The best of a tuning, trial 0: val/top1 0.52 on validation, mean of 3 fresh seeds.\n")
    assert yaml.safe_load(text)["model"]["init_args"]["lr"] == UNTUNED_LR
    again = [(name, seed) for name, seed in lucky.begun if seed]
    assert [seed for _, seed in again] == [1, 1, 1, 2, 2, 2, 3, 3, 3]  # all configurations share them
    rows = read_csv(tmp_path / "t" / "confirmation.csv").records()
    assert len(rows) == 9
    assert {row["trial"] for row in rows if row["untuned"] == "True"} == {"0"}
    own = [float(row["val/top1"]) for row in rows if row["trial"] == "0"]
    assert own == pytest.approx([0.51, 0.52, 0.53])


def test_of_the_trials_the_best_mean_is_chosen_and_measured_beside_the_untuned(lucky: Lucky, tmp_path: Path) -> None:
    """By hand: means 0.6 and 0.5 of three seeds, whose differences are 0.1 each."""
    made = [Tried(number, "complete", {}, metric, 9, 1.0, number == 0) for number, metric in enumerate((0.1, 0.8, 0.9))]
    two = confirming_plan(tmp_path, Confirm(1, 3))
    assert [one.number for one in candidates(made, two)] == [2, 0]
    assert [one.number for one in candidates(made, replace(two, confirm=Confirm(5, 2)))] == [2, 1, 0]
    assert candidates(made, replace(two, confirm=None)) == []
    assert candidates([replace(made[1], state="failed")], two) == []
    better, untuned = (
        Confirmed(made[k], (1, 2, 3), scores) for k, scores in ((2, (0.5, 0.6, 0.7)), (0, (0.4, 0.5, 0.6)))
    )
    assert better.mean == pytest.approx(0.6)
    assert better.interval == mean_interval([0.5, 0.6, 0.7])
    difference = better.against(untuned)
    assert difference is not None
    assert difference.difference == pytest.approx(0.1)
    assert Confirmed(made[2], (1, 2), (0.5, None)).mean is None
    assert Confirmed(made[2], (1, 2), (0.5, None)).against(untuned) is None


def confirming_plan(tmp_path: Path, confirm: Confirm) -> Plan:
    return replace(plan.planned(read_tuning(write(tmp_path))), confirm=confirm)


def test_a_better_mean_within_the_noise_is_said_to_show_nothing(
    lucky: Lucky, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    noise = {1: -0.3, 2: 0.5, 3: 0.0}
    for clear in (False, True):
        monkeypatch.setattr(
            f"{__name__}.score",
            lambda lr, seed, clear=clear: 0.5 if lr == UNTUNED_LR else 0.6 + noise.get(seed, 0) * (not clear),
        )
        (tmp_path / str(clear)).mkdir()
        assert tuned(tmp_path / str(clear), confirm={"best": 1, "seeds": 3}) == 0
        assert (
            "These seeds do not show that it is better than the untuned one" in capsys.readouterr().out
        ) is not clear


def test_a_lower_loss_is_better(lucky: Lucky, tmp_path: Path) -> None:
    lower = replace(confirming_plan(tmp_path, Confirm(1, 2)), metric="val/loss")
    made = [Tried(number, "complete", {}, metric, 9, 1.0) for number, metric in enumerate((0.2, 0.1))]
    assert [one.number for one in candidates(made, lower)] == [1]
    for number, values in enumerate(((0.3, 0.5), (0.1, 0.9))):
        for seed, value in enumerate(values, 1):
            write_text(tmp_path / f"confirmation/{number:04}/seed-{seed}/score.json", json.dumps({"value": value}))
    assert [one.trial.number for one in read_confirmed(tmp_path, lower, made)] == [0, 1]


def test_nothing_is_trained_twice_after_an_interruption(
    lucky: Lucky, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    confirm = {"best": 1, "seeds": 2}
    lucky.stops_at = 4 + 2  # the second of four trainings
    assert tuned(tmp_path, confirm=confirm) == 130
    assert "finished trials are in" in capsys.readouterr().out
    assert not (tmp_path / "t" / "best.yaml").exists()
    assert tuned(tmp_path, confirm=confirm) == 0
    assert len(lucky.begun) == 4 + 4 + 1
    assert tuned(tmp_path, confirm=confirm) == 0
    assert len(lucky.begun) == 9
    assert tuned(tmp_path, confirm={"best": 1, "seeds": 3}) == 0  # two more trainings, with the third seed
    assert [seed for _, seed in lucky.begun[9:]] == [3, 3]


def test_a_configuration_with_a_seed_that_fails_is_not_chosen(
    lucky: Lucky, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lucky.fails = {2: "Expected the training loss to be finite, but got nan."}
    assert tuned(tmp_path, confirm={"best": 1, "seeds": 2}) == 0
    told = capsys.readouterr().out
    assert told.count("seed-2 failed: Expected the training loss to be finite, but got nan. See its log.txt.") == 2
    assert "A fresh seed of each failed, so the best is that of the trials' own seed: do not trust it." in told


def test_without_confirmation_the_best_is_said_to_look_better_than_it_is(
    lucky: Lucky, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert tuned(tmp_path, confirm="none") == 0
    told = capsys.readouterr().out
    assert "The best is measured once, on the data that chose it, so it looks better than it is." in told
    assert {seed for _, seed in lucky.begun} == {0}
    assert not (tmp_path / "t" / "confirmation").exists()


def test_a_wrong_storage_leaves_no_folder(lucky: Lucky, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["tune", write(tmp_path), "--folder", str(tmp_path / "t"), "--storage", "nonsense"]
    assert said(words, capsys).startswith("Expected `--storage` to be the URL of a database that SQLAlchemy opens")
    assert not (tmp_path / "t").exists()


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"best": 0}, "Expected `confirm.best` to be a whole number from 1 to"),
        ({"seeds": 1}, "Expected `confirm.seeds` to be a whole number from 2 to 1000, but got 1"),
        ({"trials": 3}, "Expected `confirm` to be none, or to have only best and seeds, but got {'trials': 3}"),
        (True, "Expected `confirm` to be none, or to have only best and seeds, but got True"),
    ],
)
def test_a_wrong_confirmation_is_refused(given: Any, expected: str, tmp_path: Path) -> None:
    refused(read_tuning, write(tmp_path, confirm=given), expected=expected)
