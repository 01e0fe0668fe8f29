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


@pytest.fixture(scope="module")
def few_samples() -> Iterator[None]:
    """The curvature of a short search is measured on 4 samples, in modules that are not about it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("robustnas.diagnostics.curvature.FEWEST", 4)
        yield
