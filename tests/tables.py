"""Tests over tables: all rows in one test, which names each that is wrong; or one a row, of which some are slow."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Container, Iterable
from typing import Any, TypeVar

import pytest
import torch

Row = TypeVar("Row")


def check_each(rows: Iterable[Row], check: Callable[[Row], object]) -> None:
    """Check all rows, also after one that fails; fail with the name and the traceback of each that does.

    Each row starts from the same seed, as each test does.

    Args:
        rows: The rows, or their names.
        check: Raises where a row is wrong.
    """
    count, failed = 0, []
    for row in rows:
        count += 1
        torch.manual_seed(0)
        try:
            check(row)
        except (Exception, pytest.fail.Exception) as error:  # the latter: `pytest.raises` that nothing raised
            failed.append(f"{str(row)[:500]}:\n{''.join(traceback.format_exception(error))}")
    assert count, "a table without rows checks nothing"
    if failed:
        pytest.fail(f"{len(failed)} of {count} rows are wrong\n\n" + "\n".join(failed), pytrace=False)


def with_slow(rows: Iterable[Any], slow: Container[Any]) -> list[Any]:
    """Parameters of a test, of which some run with ``-m slow`` only."""
    return [pytest.param(row, marks=pytest.mark.slow if row in slow else []) for row in rows]
