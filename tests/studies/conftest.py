"""Lets the tests of studies import one another's helpers; a cluster of Ray where it is installed."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))


@pytest.fixture(scope="module")
def ray() -> Iterator[Any]:
    """A cluster of this machine, with the environment that its workers need to find what is tested."""
    from robustnas.studies import cluster

    library = pytest.importorskip("ray", reason="ray is not installed: pip install robustnas[ray]")
    before = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = os.pathsep.join([str(HERE), str(HERE.parents[1]), before or ""])
    cluster.join("local", 2)
    yield library
    library.shutdown()
    os.environ.pop("PYTHONPATH")
    if before is not None:
        os.environ["PYTHONPATH"] = before
