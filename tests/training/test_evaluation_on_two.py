"""Evaluations on two processes, by stock DDP, and validation where one process has fewer samples than the other."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from methods import search
from ranks import in_two
from runs import digits, rows, trainer

from robustnas.training import EvaluationModule, Found

CELL = "|nor_conv_3x3~0|+|skip_connect~0|nor_conv_1x1~1|+|none~0|avg_pool_3x3~1|nor_conv_3x3~2|"
UNEVEN = (0.06, 0.04, 41.2 / 1437)  # 21 samples and 20, in three batches of at most 10 and in two
ALONE = (0.06, 0.04, 1.2 / 1437)


def evaluated(folder: Path, devices: int, **data: Any) -> dict[str, Any]:
    """An epoch of training, validation, and a test."""
    folder.mkdir(exist_ok=True, parents=True)
    module = EvaluationModule(Found(CELL, channels=4, cells=1), image_channels=1, drop_path=0.0)
    running = trainer(folder, devices=devices, strategy="ddp" if devices > 1 else "auto", max_epochs=1)
    own = digits(batch_size=16 // devices, augmentation=None, **data)
    running.fit(module, own)
    trained = rows(running)
    tested = running.test(module, datamodule=own, verbose=False)[0]
    state = {name: value.clone() for name, value in module.state_dict().items() if "metrics" not in name}
    return {"state": state, "rows": trained, "test": dict(tested)}


def test_an_evaluation_with_more_batches_of_validation_on_one_process(tmp_path) -> None:
    def run(rank: int) -> dict[str, Any]:
        return evaluated(tmp_path / "run", 2, fractions=UNEVEN, eval_batch_size=10)

    first, second = in_two(run, tmp_path / "ranks")
    assert first["rows"] == second["rows"]
    assert first["test"] == second["test"]
    assert {"val/loss", "val/top1"} <= set(first["rows"][0])
    weights = [name for name in first["state"] if "running" not in name and "num_batches" not in name]
    assert all(torch.equal(first["state"][name], second["state"][name]) for name in weights)


def test_a_search_with_more_batches_of_validation_on_one_process(tmp_path) -> None:
    def run(rank: int) -> list[dict[str, float]]:
        return rows(search("DARTS", tmp_path / "run", batch_size=8, devices=2, max_epochs=1, fractions=UNEVEN))

    first, second = in_two(run, tmp_path / "ranks")
    assert first == second
    assert "val/loss" in first[0]


def test_a_process_without_a_sample_to_validate_on_is_refused(tmp_path) -> None:
    """It would leave validation out, and the others wait for it without end."""

    def run(rank: int) -> str:
        with pytest.raises(ValueError, match="Expected the role selection") as refused:
            search("DARTS", tmp_path / "run", batch_size=8, devices=2, max_epochs=1, fractions=ALONE)
        return str(refused.value)

    sentence = "Expected the role selection to be empty or to have a sample for each of the 2 processes, but got 1."
    assert in_two(run, tmp_path / "ranks") == [sentence] * 2
