"""What the tests break lies beside them; their runs read images once and draw nothing."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parents[1] / "training")]


@pytest.fixture(scope="module", autouse=True)
def cheap_runs() -> Iterator[None]:
    from runs import cheap

    with cheap(drawings=False):
        yield
