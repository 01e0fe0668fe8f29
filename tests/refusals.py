"""Command lines that are refused, and what is common to all of them."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import pytest
import words
from tables import check_each

from robustnas.__main__ import main
from robustnas.training import EvaluationModule, SearchModule

QUIET = ["--trainer.max_epochs=1", *words.QUIET]
MODEL, DATA = words.MODEL, words.DATA
SEARCH = ["fit", *MODEL, *DATA, *QUIET]
EVALUATION = ["fit", "--model=EvaluationModule", *DATA, *QUIET]
FOUND = [*EVALUATION, "--model.architecture=Found", "--model.architecture.cells=1"]
GENOTYPE = "|nor_conv_3x3~0|+|none~0|skip_connect~1|+|nor_conv_1x1~0|avg_pool_3x3~1|nor_conv_3x3~2|"


def said(words: Sequence[str], capsys: pytest.CaptureFixture[str], statuses: Sequence[int] = (1, 2)) -> str:
    """The one sentence that a command refuses with, and one of these exit statuses."""
    assert main(list(words)) in statuses
    caught = capsys.readouterr()
    assert "Traceback" not in caught.err + caught.out
    (line,) = [line for line in caught.err.splitlines() if line.strip()]
    assert line.startswith("robustnas: ")
    return line.removeprefix("robustnas: ")


def refused(call: Callable[..., object], *arguments: object, expected: str) -> None:
    """Check that a call is refused in one sentence that holds an expected text."""
    with pytest.raises(ValueError, match=re.escape(expected)) as caught:
        call(*arguments)
    assert str(caught.value).startswith("Expected ")


def check_refusals(
    rows: Mapping[str, tuple[Sequence[str], str]],
    folder: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    longest: int = 700,
) -> None:
    """Give every command in a folder; each is refused by a sentence with its beginning, and leaves no run."""
    monkeypatch.chdir(folder)
    untrained(monkeypatch)

    def check(case: str) -> None:
        words, beginning = rows[case]
        sentence = said(words, capsys)
        assert sentence.startswith(beginning), sentence
        assert len(sentence) < longest
        assert trained(folder) == []
        assert not (folder / "runs").exists()  # what is refused takes no number

    check_each(rows, check)


def short_search(folder: Path) -> Path:
    """The folder of a finished search of one batch."""
    short = ["--trainer.limit_train_batches=1", "--trainer.limit_val_batches=1", "--diagnostics.measures=[]"]
    assert main([*SEARCH, *short, f"--run-dir={folder}"]) == 0
    return folder


def trained(folder: Path) -> list[Path]:
    return [path for name in ("last.ckpt", "metrics.csv", "alpha", "events*") for path in folder.rglob(name)]


def untrained(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a step of training fail the test."""

    def step(*_: object) -> None:
        pytest.fail("a step was trained")

    for module in (SearchModule, EvaluationModule):
        monkeypatch.setattr(module, "training_step", step)
