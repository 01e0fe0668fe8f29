"""Settings of every test: few threads, reproducible numbers, ``tests/`` importable."""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ.setdefault(name, "1")  # before numpy and torch are imported, and for the processes that tests start

import torch  # noqa: E402

sys.path.insert(0, str(Path(__file__).parent))

# Files go to workers in this order, then the others as they are found: what takes long and starts last, ends alone.
DEAREST = (
    "test_configs.py", "docs/test_pages.py", "studies/test_running.py", "tuning/test_tuning.py", "test_variants.py",
    "training/test_on_accelerator.py", "test_select.py", "inference/test_export.py", "studies/test_settings.py",
    "verification/test_verification.py", "studies/test_ablate.py", "variants/test_oles.py", "test_interruption.py",
    "training/test_curvature_probe.py", "diagnostics/test_no_trace.py", "diagnostics/test_curvature.py",
    "test_combinations.py", "training/test_hostile.py", "training/test_pruned_search.py", "studies/test_choosing.py",
    "diagnostics/test_truth.py", "training/test_changed_epochs.py", "planning/test_command.py", "test_cli_own.py",
)  # fmt: skip

torch.set_num_threads(1)
os.environ["ROBUSTNAS_TRUST"] = "tests"  # command lines name classes of test modules under other names


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The dearest files first; the tests of a file stay in their order."""
    place = {Path(__file__).parent / name: number for number, name in enumerate(DEAREST)}
    items.sort(key=lambda item: place.get(item.path, len(place)))


def pytest_collection_finish() -> None:
    """Libraries and tests that are loaded stay: the collector of garbage need not look at them each time."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session", autouse=True)
def unsynced() -> Iterator[None]:
    """No file waits for the disk, which takes as long as a step; `test_record` checks that the library asks for it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda number: None)
        yield


@pytest.fixture(autouse=True)
def reproducible() -> Iterator[None]:
    """Each test starts from the same seed, and leaves the default precision as it was."""
    torch.manual_seed(0)
    precision = torch.get_default_dtype()
    yield
    torch.set_default_dtype(precision)


@pytest.fixture(scope="module")
def few_samples() -> Iterator[None]:
    """The curvature of a short search is measured on 4 samples, in modules that are not about it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("robustnas.diagnostics.curvature.FEWEST", 4)
        yield


@pytest.fixture(scope="module")
def no_pictures() -> Iterator[None]:
    """Pictures of a search are blank, in modules that are not about them: drawing takes longer than the search."""
    from matplotlib.figure import Figure

    def blank(*given: object, **named: object) -> Figure:
        return Figure(figsize=(1, 1))

    with pytest.MonkeyPatch.context() as patch:
        for name in ("view.curves_figure", "view.alpha_figure", "view.genotype_card"):
            patch.setattr(f"robustnas.diagnostics.{name}", blank)
        patch.setattr("robustnas.plotting.cells.genotype_figure", blank)
        yield


@pytest.fixture(scope="module")
def known_costs() -> Iterator[None]:
    """Searches of one size share a table of costs, in modules that are not about it; spaces of tests have their own."""
    from robustnas.diagnostics import cost

    from robustnas.spaces.find import KNOWN

    made, table_of = dict[str, Any](), cost.table_of

    def known(search: Any, probe: Any) -> Any:
        if KNOWN.get(search.space.name) is not search.space:
            return table_of(search, probe)
        given = search.description["init_args"]
        sizes = [given[name] for name in ("channels", "layers", "cells", "num_classes", "stem", "image_channels")]
        key = f"{search.space.name} {sizes} {probe.batches('arch', 1)[0].images.shape[-2:]}"
        if key not in made:
            made[key] = table_of(search, probe)
        return made[key]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cost, "table_of", known)
        yield
