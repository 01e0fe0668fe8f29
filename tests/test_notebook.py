"""What IPython is told to show, with formatters that find a function for a class as its own do."""

from __future__ import annotations

import random
import subprocess
import sys
from types import SimpleNamespace
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
from robustnas.variants import DARTS

from robustnas import notebook
from robustnas.analysis import judge
from robustnas.analysis.history import History
from robustnas.spaces import NASBench201, random_genotype


class Formatter:
    """Finds a function by the names of a class and of its bases."""

    def __init__(self) -> None:
        self.known: dict[tuple[str, str], Any] = {}

    def for_type_by_name(self, module: str, name: str, draw: Any) -> None:
        self.known[module, name] = draw

    def __call__(self, shown: object) -> str | None:
        found = [self.known.get((one.__module__, one.__name__)) for one in type(shown).__mro__]
        return next((draw(shown) for draw in found if draw), None)


@pytest.fixture(scope="module")
def formatters() -> dict[str, Formatter]:
    known = {form: Formatter() for form in ("image/svg+xml", "text/html", "text/markdown")}
    shell: Any = SimpleNamespace(display_formatter=SimpleNamespace(formatters=known))
    notebook.load_ipython_extension(shell)
    return known


@pytest.fixture(scope="module")
def history() -> History:
    alphas = {epoch: {"cell": np.zeros((6, 5)) + epoch * np.eye(6, 5)} for epoch in range(3)}
    return History(NASBench201, alphas, series={"val/top1": {0: 0.1, 1: 0.4, 2: 0.5}})


def test_a_genotype_is_a_drawing(formatters: dict[str, Formatter]) -> None:
    drawn = formatters["image/svg+xml"](random_genotype(NASBench201, random.Random(0)))
    assert ElementTree.fromstring(drawn or "").tag.endswith("svg")


def test_a_search_is_the_heat_map_of_each_kind_of_cell(formatters: dict[str, Formatter]) -> None:
    drawn = formatters["text/html"](DARTS(space="S2", layers=3, channels=2)) or ""
    pictures = ElementTree.fromstring(f"<div>{drawn}</div>")
    assert [one.tag.rpartition("}")[2] for one in pictures] == ["svg", "svg"]
    assert all(f">{kind}</text>" in drawn for kind in ("normal", "reduce"))


def test_a_history_has_curves_and_its_last_mixture(formatters: dict[str, Formatter], history: History) -> None:
    drawn = formatters["text/html"](history) or ""
    assert len(ElementTree.fromstring(f"<div>{drawn}</div>")) == 2
    assert ">Accuracy</text>" in drawn
    assert ">cell, epoch 2</text>" in drawn


def test_a_verdict_is_markdown(formatters: dict[str, Formatter], history: History) -> None:
    verdict = judge(history)
    assert formatters["text/markdown"](verdict) == verdict.markdown()


def test_loading_the_extension_imports_neither_torch_nor_matplotlib() -> None:
    code = "import robustnas.notebook, sys; print({'torch', 'matplotlib', 'pytorch_lightning'} & {*sys.modules})"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "set()\n"
