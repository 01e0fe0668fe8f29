"""Protects the choice among seeds: all search first, one is trained, and nothing but validation chooses it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tables import check_each
from test_ablate import asked, in_this_process, write  # noqa: F401
from test_running import Inline
from test_settings import EVALUATION, FACTORS

from robustnas.__main__ import main
from robustnas.studies.choosing import choices
from robustnas.studies.configuration import configured
from robustnas.studies.estimate import estimate
from robustnas.studies.grid import trials_of
from robustnas.studies.results import read_failures, read_results, rows_of
from robustnas.studies.study import read_study
from robustnas.studies.trial import Trial

pytestmark = pytest.mark.usefixtures("few_samples", "no_pictures", "known_costs", "in_this_process")

CHOOSE = {"metric": "val/loss", "among": "seeds"}
SHARING = {"RandomGenotype": {}, "RandomSharing": {"samples": 2}}


def study(folder: Path, **changed: Any) -> str:
    return write(folder, **{"seeds": [0, 1, 2], "choose": CHOOSE, **changed})


def group(values: list[list[Any]], root: Path, metric: str = "val/loss", name: str = "val/loss") -> list[Trial]:
    """Trials whose searches logged some values."""
    trials = [Trial("A", None, None, {}, seed, choose=metric) for seed in range(len(values))]
    for trial, rows in zip(trials, values, strict=True):
        folder = root / trial.folder / "search"
        folder.mkdir(parents=True)
        lines = [f"epoch,{name}", *(f"{epoch},{value}" for epoch, value in enumerate(rows))]
        (folder / "metrics.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return trials


def test_the_best_last_value_is_chosen_and_of_equals_the_first(tmp_path_factory: pytest.TempPathFactory) -> None:
    nan = float("nan")
    rows: list[tuple[list[list[Any]], str, int]] = [
        ([[1, 3], [3, 2], [1, 4]], "val/loss", 1),
        ([[1, 3], [3, 2], [1, 4]], "val/top1", 2),
        ([[2, 1], [3, 1]], "val/loss", 0),
        ([[0, nan], [3, 5]], "val/loss", 1),
        ([[0, float("inf")], [3, 5]], "val/top1", 1),
        ([[7, ""], [8, ""]], "val/loss", 0),  # not measured in the last epoch
    ]

    def check(row: tuple[list[list[Any]], str, int]) -> None:
        values, metric, wanted = row
        root = tmp_path_factory.mktemp("root")
        found = choices(root, group(values, root, metric, metric))
        assert [one["chosen"] for one in found.values()] == [seed == wanted for seed in range(len(values))]
        assert {(one["seed"], one["of"], one["metric"]) for one in found.values()} == {(wanted, len(values), metric)}

    check_each(rows, check)


def test_a_choice_among_random_losses_is_their_minimum(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for number in range(20):
        losses = rng.normal(size=(5, 3))
        root = tmp_path / str(number)
        found = choices(root, group(losses.tolist(), root))
        assert [key for key, one in found.items() if one["chosen"]] == [f"A/seed-{losses[:, -1].argmin()}"]


def test_what_was_not_measured_chooses_nobody(tmp_path: Path) -> None:
    with pytest.raises(
        ValueError, match=r"^Expected `choose.metric` to be measured by every search, but .* no val/top1"
    ):
        choices(tmp_path, group([[1], [2]], tmp_path, "val/top1"))
    with pytest.raises(ValueError, match=r"^Expected `val/loss` of a search of A to be finite, but got none"):
        choices(tmp_path / "b", group([["nan"], ["nan"]], tmp_path / "b"))


@pytest.mark.slow
def test_all_search_one_is_trained_and_the_report_says_so(
    asked: list[Any],  # noqa: F811
    tmp_path: Path,
    capsys: Any,
) -> None:
    root = tmp_path / "study"
    command = ["ablate", study(tmp_path, baselines=SHARING), "--folder", str(root)]
    assert main([*command, "--only", "DARTS/seed-0", "DARTS/seed-1"]) == 0
    assert [Path(given["run_dir"]).name for given in asked] == ["search", "search"]
    assert not read_results(root)  # the third seed has not searched
    assert main(command) == 0
    ran = [str(Path(given["run_dir"]).relative_to(root / "trials")) for given in asked]
    assert sum(name.endswith("search") for name in ran) == 3 + 3
    assert sum(name.endswith("evaluation") for name in ran) == 1 + 1 + 3  # random genotypes have no search that chooses
    held = read_results(root)
    assert len(held) == 9
    for variant in ("DARTS", "RandomSharing"):
        records = [record for record in held if record.variant == variant]
        losses = [record.held["metrics"]["search"]["val/loss"] for record in records]
        best = int(np.argmin(losses))
        for seed, record in enumerate(records):
            assert record.chosen is not None
            assert dict(record.chosen) == {
                "metric": "val/loss", "value": losses[seed], "chosen": seed == best, "seed": best, "of": 3,
            }  # fmt: skip
            assert (record.score is not None) == (seed == best) == (root / record.folder / "evaluation").is_dir()
            assert record.held["attempts"] == (2 if variant == "DARTS" and seed < 2 else 1)
            assert record.held["seconds"]["evaluation"] > 0 or seed != best
    assert all(r.chosen is None and r.score is not None for r in held if r.variant == "RandomGenotype")
    rows = {(row["variant"], row["seed"]): row.get("chosen") for row in rows_of(held)}
    assert sum(bool(chosen) for chosen in rows.values()) == 2
    said = capsys.readouterr().out
    assert "is chosen" in said
    assert "searched in" in said
    assert "9 of 9 trials" in said

    before = {record.folder: (root / record.folder / "result.json").read_bytes() for record in held}
    assert main(command) == 0
    assert all((root / folder / "result.json").read_bytes() == data for folder, data in before.items())
    chosen = next(record for record in held if record.variant == "DARTS" and record.score is not None)
    (root / chosen.folder / "result.json").unlink()  # as if killed in the training of what was chosen
    progress = json.loads((root / chosen.folder / "progress.json").read_text(encoding="utf-8"))
    del progress["stages"]["evaluation"]
    (root / chosen.folder / "progress.json").write_text(json.dumps(progress), encoding="utf-8")
    count = len(asked)
    assert main(command) == 0
    assert [given["run_dir"] for given in asked[count:]] == [str(root / chosen.folder / "evaluation")]
    again = next(record for record in read_results(root) if record.folder == chosen.folder)
    assert (again.chosen, again.score) == (chosen.chosen, chosen.score)


@pytest.mark.parametrize("baselines", [[], pytest.param(["RandomGenotype"], marks=pytest.mark.slow)])
def test_a_search_that_fails_lets_its_group_wait(tmp_path: Path, monkeypatch: Any, baselines: list[str]) -> None:
    """And once all have searched, one is trained."""
    from robustnas.studies import run_trial

    root, search = tmp_path / "study", run_trial._search

    def fails(trial: Trial, folder: Path) -> Any:
        if trial.seed == 1 and not trial.baseline:
            raise ValueError("Expected luck, but got none.")
        return search(trial, folder)

    command = ["ablate", study(tmp_path, seeds=[0, 1], baselines=baselines), "--folder", str(root)]
    monkeypatch.setattr(run_trial, "_search", fails)
    assert main(command) == 1
    assert [record.variant for record in read_results(root)] == baselines * 2
    assert list(read_failures(root)) == ["trials/DARTS/seed-1"]
    monkeypatch.undo()
    monkeypatch.setattr("robustnas.commands.ablate.engine_of", lambda options, root: Inline())
    assert main(command) == 0
    held = read_results(root)
    assert len(held) == 2 + 2 * len(baselines)
    assert not read_failures(root)
    losses = [record.held["metrics"]["search"]["val/loss"] for record in held if record.variant == "DARTS"]
    (trained,) = [record for record in held if record.variant == "DARTS" and record.score is not None]
    assert trained.seed == int(np.argmin(losses))
    assert (trained.chosen or {})["of"] == 2


def test_a_metric_that_no_search_logs_fails_with_the_reason(tmp_path: Path, capsys: Any) -> None:
    root = tmp_path / "study"
    given = study(tmp_path, choose="val/r2", seeds=[0, 1], baselines=[])
    assert main(["ablate", given, "--folder", str(root)]) == 1
    assert all("to be measured by every search" in said for said in read_failures(root).values())
    assert len(read_failures(root)) == 2


def test_an_estimate_trains_one_seed_of_a_group(tmp_path: Path) -> None:
    chosen = configured(trials_of(read_study(study(tmp_path))))
    every = configured(trials_of(read_study(study(tmp_path, choose=None))))
    found, whole = (estimate(trials, Inline(), "fakes:fake_probe").seconds for trials in (chosen, every))
    search, evaluation = 21.0, 17.0
    assert [round(found[f"DARTS/seed-{seed}"], 6) for seed in range(3)] == [round(search + evaluation / 3, 6)] * 3
    assert whole["DARTS/seed-0"] == whole["RandomGenotype/seed-0"] == found["RandomGenotype/seed-0"]
    assert whole["DARTS/seed-0"] == search + evaluation


def test_without_a_choice_nothing_changes(tmp_path: Path) -> None:
    plain, none, chosen = (
        configured(trials_of(read_study(write(tmp_path, seeds=[0, 1], **more))))
        for more in ({}, {"choose": None}, {"choose": CHOOSE})
    )
    assert [trial.fingerprint for trial in plain] == [trial.fingerprint for trial in none]
    assert [trial.choose for trial in chosen] == ["val/loss", None] * 2
    differing = [one.fingerprint != other.fingerprint for one, other in zip(plain, chosen, strict=True)]
    assert differing == [True, False, True, False]


@pytest.mark.slow
def test_one_seed_of_a_group_is_trained_under_all_settings(asked: list[Any], tmp_path: Path) -> None:  # noqa: F811
    root = tmp_path / "study"
    given = study(tmp_path, seeds=[3, 5], baselines=[], evaluation={**EVALUATION, "settings": FACTORS})
    assert main(["ablate", given, "--folder", str(root)]) == 0
    assert len(asked) == 2 + 4
    (chosen,) = [record for record in read_results(root) if record.score is not None]
    assert (chosen.best or {})["of"] == len(chosen.under) == 4
    page = (root / "report.html").read_text(encoding="utf-8")
    assert "n = 1" in page
    assert "of 2 seeds" in page


WRONG: list[tuple[Any, str]] = [
    ({"choose": 3}, "Expected `choose` to have a `metric`, and `among: seeds`, but got 3"),
    ({"choose": {"among": "seeds"}}, "Expected `choose` to have a `metric`, and `among: seeds`, but got"),
    (
        {"choose": {"metric": "val/loss", "best": 1}},
        "Expected `choose` to have a `metric`, and `among: seeds`, but got",
    ),
    ({"choose": {**CHOOSE, "among": "variants"}}, "Expected `choose.among` to be seeds, but got 'variants'"),
    ({"choose": "val/luck"}, "Expected `choose.metric` to be one of val/loss, .*, but got 'val/luck'"),
    ({"choose": "test/top1"}, "Expected `choose.metric` to be one of val/loss, .*, but got 'test/top1'"),
    ({"choose": {"metric": ["val/loss"]}}, r"Expected `choose.metric` to be one of .*, but got \['val/loss'\]"),
    ({"seeds": [0]}, r"Expected `seeds` to have two or more to choose among, but got \[0\]"),
]


def test_what_makes_no_sense_is_said_in_a_sentence(tmp_path_factory: pytest.TempPathFactory) -> None:
    def check(row: tuple[Any, str]) -> None:
        changed, sentence = row
        with pytest.raises(ValueError, match=sentence) as caught:
            read_study(study(tmp_path_factory.mktemp("row"), **changed))
        assert str(caught.value).startswith("Expected ")
        assert "\n" not in str(caught.value)

    check_each(WRONG, check)


def test_a_search_without_validation_chooses_nobody(tmp_path: Path) -> None:
    variants = {"DARTS": {"config": "digits_darts_second_order.yaml", "options": {"trainer.limit_val_batches": 0}}}
    with pytest.raises(ValueError, match=r"^Expected `trainer.limit_val_batches` above 0, since val/loss chooses"):
        configured(trials_of(read_study(study(tmp_path, variants=variants))))
