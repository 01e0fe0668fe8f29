"""Curves of a running search, with a module that stands for IPython's."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from robustnas.diagnostics import AlphaShares, LivePlot
from runs import fit, search


class Shown(list):  # type: ignore[type-arg]
    """What was displayed, and what replaced it."""

    def module(self) -> ModuleType:
        made: Any = ModuleType("IPython.display")
        made.SVG = str
        made.display = lambda picture, display_id: self.append(picture) or self
        return made

    def update(self, picture: str) -> None:
        self.append(picture)


@pytest.mark.parametrize(("seconds", "drawings"), [(0.0, 3), (1e6, 2)])
def test_each_epoch_is_drawn_once_time_allows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seconds: float, drawings: int
) -> None:
    shown = Shown()
    monkeypatch.setitem(sys.modules, "IPython.display", shown.module())
    plot = LivePlot(seconds)
    fit(tmp_path, search(), max_epochs=3, limit_train_batches=1, limit_val_batches=1, callbacks=[AlphaShares(), plot])
    assert len(shown) == drawings
    assert all(f">{title}</text>" in shown[-1] for title in ("Loss", "Accuracy", "Decision"))
    assert shown[0] != shown[-1]


def test_without_ipython_it_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "IPython.display", None)
    fit(tmp_path, search(), limit_train_batches=1, limit_val_batches=1, callbacks=[LivePlot()])
    said = capsys.readouterr()
    assert said.out.count("LivePlot draws nothing, since there is no IPython: pip install ipython.") == 1


def test_a_negative_time_is_refused() -> None:
    with pytest.raises(ValueError, match=r"Expected `seconds` to be at least 0, but got -1"):
        LivePlot(-1)
