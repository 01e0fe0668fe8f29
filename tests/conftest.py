"""Settings of every test: few threads, reproducible numbers, ``tests/`` importable."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

sys.path.insert(0, str(Path(__file__).parent))

torch.set_num_threads(1)
os.environ["ROBUSTNAS_TRUST"] = "tests"  # command lines name classes of test modules under other names


@pytest.fixture(autouse=True)
def reproducible() -> Iterator[None]:
    """Each test starts from the same seed, and leaves the default precision as it was."""
    torch.manual_seed(0)
    precision = torch.get_default_dtype()
    yield
    torch.set_default_dtype(precision)


@pytest.fixture
def few_samples(monkeypatch: pytest.MonkeyPatch) -> None:
    """The curvature of a search of one step is measured on 4 samples: it is not what such tests are about."""
    monkeypatch.setattr("robustnas.diagnostics.curvature.FEWEST", 4)
