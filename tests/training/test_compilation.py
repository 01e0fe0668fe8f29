"""Compiled cells compute what they did, and run uncompiled where second derivatives are taken."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import torch
from robustnas.variants import DARTS
from runs import fit, rows, search

from robustnas.networks.cell import Cell
from robustnas.runtime.precision import full_precision
from robustnas.spaces.space import SearchSpace, complete_cell
from robustnas.strategies import BinaryGates, CurvatureRise, GumbelOneHot, Unrolled
from robustnas.training import compilation
from robustnas.training.compilation import check_compiler

TWO = ("skip_connect", "nor_conv_3x3")
SMALL = SearchSpace("small", {"cell": complete_cell(1, 3, TWO, (3,))}, "nasbench201")


@pytest.fixture
def graphs(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Graphs that were compiled, by everything that compiling consists of but writing machine code."""
    from torch._dynamo.backends.debugging import aot_eager

    found: list[Any] = []

    def backend(graph: Any, inputs: Any) -> Any:
        found.append(graph)
        return aot_eager(graph, inputs)

    torch._dynamo.reset()
    monkeypatch.setattr(compilation, "BACKEND", backend)
    return found


def small(**options: Any) -> DARTS:
    return DARTS(space=SMALL, cells=1, channels=4, image_channels=1, **options)


def both(folder: Path, **options: Any) -> tuple[Any, Any]:
    """Two runs of one search, the second compiled."""
    shared = {"limit_train_batches": 2, "max_epochs": 1}
    return tuple(  # type: ignore[return-value]
        fit(folder / str(compiled), small(compile_cells=compiled, **options), **shared) for compiled in (False, True)
    )


def compare(runs: tuple[Any, Any], tolerance: float) -> None:
    plain, compiled = (run.lightning_module for run in runs)
    for (name, one), (_, other) in zip(plain.named_parameters(), compiled.named_parameters(), strict=True):
        torch.testing.assert_close(other, one, rtol=tolerance, atol=tolerance, msg=name)
    assert plain.state_dict().keys() == compiled.state_dict().keys()
    first, second = (rows(run)[0] for run in runs)
    assert second == pytest.approx(first, rel=tolerance, abs=tolerance)


@pytest.mark.slow
def test_a_compiled_search_is_that_search(tmp_path: Path, graphs: list[Any]) -> None:
    compare(both(tmp_path), 1e-5)
    assert 6 <= len(graphs) <= 12  # three cells; steps of α, of the weights, and validation


@pytest.mark.slow
def test_second_order_and_curvature_run_uncompiled(tmp_path: Path, graphs: list[Any]) -> None:
    compare(both(tmp_path, gradient=Unrolled(), stopping=CurvatureRise(interval=1)), 1e-5)


@pytest.mark.slow
def test_in_full_precision_cells_run_uncompiled(graphs: list[Any]) -> None:
    module = small()
    compilation.compile_cells(module.supernet, torch.device("cpu"))
    graphs.clear()
    with full_precision("cpu"):
        module(torch.zeros(2, 1, 8, 8))
    assert graphs == []
    eager = small()(images := torch.rand(2, 1, 8, 8))
    torch.testing.assert_close(module(images), eager, rtol=1e-5, atol=1e-5)
    assert len(graphs) == 3  # one for each cell


@pytest.mark.slow
def test_machine_code_computes_the_same(tmp_path: Path) -> None:
    torch._dynamo.reset()
    compare(both(tmp_path), 1e-5)


@pytest.mark.parametrize("relaxation", [GumbelOneHot(), BinaryGates(), BinaryGates("full")])
def test_sampled_paths_are_not_compiled(relaxation: Any) -> None:
    name = type(relaxation).__name__
    with pytest.raises(ValueError, match=rf"^Expected `compile_cells` to be false beside the relaxation `{name}`"):
        search(relaxation=relaxation, compile_cells=True)


def test_cells_that_drop_paths_are_not_compiled() -> None:
    with pytest.raises(ValueError, match=r"^Expected `drop_path` to be 0 beside `compile_cells`.*, but got 0\.2\.$"):
        search(drop_path=0.2, compile_cells=True)


def test_a_missing_compiler_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CXX", raising=False)
    sentence = "Expected a C++ compiler for `compile_cells`, but got none: there is no g++ or clang++ or c++."
    with pytest.raises(ValueError, match=f"^{re.escape(sentence)}$"):
        fit(tmp_path, search(compile_cells=True))
    assert not any(tmp_path.iterdir())
    monkeypatch.setenv("CXX", "no_such_compiler")
    with pytest.raises(ValueError, match="there is no no_such_compiler"):
        check_compiler(torch.device("cpu"))


def test_triton_is_asked_for_on_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compilation.shutil, "which", lambda name: name)
    monkeypatch.setattr(compilation.importlib.util, "find_spec", lambda name: None)
    check_compiler(torch.device("cpu"))
    with pytest.raises(ValueError, match=r"^Expected Triton for `compile_cells` on a GPU"):
        check_compiler(torch.device("cuda"))


def test_nothing_is_compiled_unasked() -> None:
    cells = [module for module in search().supernet.modules() if isinstance(module, Cell)]
    assert cells
    assert all(cell._compiled_call_impl is None for cell in cells)
