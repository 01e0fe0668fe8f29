"""A measure that is not finite is said once, and left out; the search goes on."""

from __future__ import annotations

import logging
import math
import sys
from pathlib import Path
from typing import Any

from robustnas.diagnostics.diagnostic import Diagnostic

sys.path.insert(0, str(Path(__file__).parents[1] / "training"))

from runs import fit, rows, search


class Odd(Diagnostic):
    """Is not finite in the second and third epoch."""

    free = True

    def measure(self, search: Any, probe: Any) -> dict[str, float]:
        return {"odd/one": [1.0, math.nan, math.inf, 2.0][search.current_epoch], "odd/two": 2.0}


def test_a_measure_that_is_not_finite_is_said_once_and_left_out(tmp_path: Path, monkeypatch: Any) -> None:
    said: list[str] = []
    monkeypatch.setattr(logging.getLogger("pytorch_lightning.robustnas"), "info", said.append)
    running = fit(tmp_path, search(), max_epochs=4, callbacks=[Odd()], limit_train_batches=1)
    assert said == ["odd/one after epoch 1 is nan, and left out; so it will be whenever it is."]
    assert [row.get("odd/one") for row in rows(running)] == [1.0, None, None, 2.0]
    assert [row["odd/two"] for row in rows(running)] == [2.0] * 4
