"""The study of collapse: what it counts as lost, how it resumes, and what its table says."""

from __future__ import annotations

from pathlib import Path

import collapse_study
import pytest
from collapse_study import METHODS, Search, agreement, differences, lost_at, seeds_of

from robustnas.cli.configuration import configuration

CONFIG = """
model: {class_path: robustnas.variants.DARTS, init_args: {space: NASBench201, channels: 4, cells: 1}}
data: {class_path: robustnas.data.ClutteredDigits, init_args: {drawings: 1, batch_size: 16}}
trainer: {max_epochs: 2, limit_train_batches: 1, limit_val_batches: 1, enable_progress_bar: false}
"""


@pytest.fixture
def config(tmp_path: Path) -> str:
    """A configuration of searches of two steps."""
    path = tmp_path / "darts.yaml"
    path.write_text(CONFIG)
    return str(path)


@pytest.mark.parametrize(
    ("accuracies", "lost"),
    [
        ([80.0, 91.0, 92.0, 84.0, 83.0], 3),
        ([80.0, 92.0, 84.0, 91.0, 83.0], 4),  # came back in between
        ([80.0, 92.0, 84.0, 83.0, 88.0], None),  # above the median at the end
        ([85.0, 86.0, 84.0], None),  # never had more than 3 points to lose
    ],
)
def test_a_cell_is_lost_from_when_it_stays_below_the_median_and_its_own_best(
    accuracies: list[float], lost: int | None
) -> None:
    assert lost_at(dict(enumerate(accuracies)), 87.0) == lost


def test_the_verdict_is_compared_with_the_truth() -> None:
    searches = [
        Search("NASBench201", 80.0, {0: 90.0}, 5, state, None, lost)
        for state, lost in (("collapsed", 3), ("collapsed", None), ("healthy", 2), ("at risk", None))
    ]
    assert "1 collapses seen, 1 missed, 1 false alarms, 1 rightly without" in agreement(searches)


def test_differences_are_paired_by_seed() -> None:
    finals = {"DARTS": {0: 80.0, 1: 81.0, 2: 82.0}, "GumbelOneHot": {1: 91.0, 2: 90.0, 3: 50.0}, "drop_path": {0: 90.0}}
    (line,) = differences(finals, "DARTS")
    assert line.startswith("GumbelOneHot - DARTS: +9.00")
    assert "n = 2" in line


def test_seeds_are_a_range() -> None:
    assert list(seeds_of("3")) == [3]
    assert list(seeds_of("0-2")) == [0, 1, 2]
    for wrong in ("-1", "3-", "9-0", "x"):
        with pytest.raises(ValueError, match="Expected `--seeds` to be a seed or a range"):
            seeds_of(wrong)


@pytest.mark.parametrize("method", METHODS)
def test_every_method_is_a_configuration(method: str, config: str) -> None:
    changed = configuration(["-c", config, *METHODS[method]])
    assert (changed == configuration(["-c", config])) == (method == "DARTS")


@pytest.mark.slow
def test_a_finished_search_is_not_repeated_and_the_table_reads_it(
    tmp_path: Path, config: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    which = ["--out", str(tmp_path / "runs"), "--seeds", "0-1", "--methods", "DARTS"]
    collapse_study.main(["run", "--config", config, *which])
    monkeypatch.setattr(collapse_study, "fit", None)
    collapse_study.main(["run", "--config", config, *which])
    capsys.readouterr()
    collapse_study.main(["table", *which])
    printed = capsys.readouterr().out
    assert "| DARTS | 2 | " in printed
    assert "Verdict of 2 searches: " in printed
