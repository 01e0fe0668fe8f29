"""One test over a table of plain data: every row is checked, and the failure names each row that is wrong."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Iterable
from typing import TypeVar

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
