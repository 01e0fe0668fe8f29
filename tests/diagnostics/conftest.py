"""Small searches, as the tests of training have them; images are read once."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "training"))


@pytest.fixture(scope="module", autouse=True)
def cheap_runs() -> Iterator[None]:
    from runs import cheap

    with cheap(drawings=True):
        yield
