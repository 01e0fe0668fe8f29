"""Options of Lightning have the types that their values show."""

from __future__ import annotations

import inspect

import pytest
from pytorch_lightning import Trainer

from robustnas.cli import lightning_cli


def test_a_limit_of_one_batch_is_not_all_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    annotations = inspect.unwrap(Trainer.__init__).__annotations__
    monkeypatch.setitem(annotations, "limit_train_batches", float | int | None)  # typing's cache can turn it round
    parsed = lightning_cli.main(["fit", "-c", "digits_darts", "--trainer.limit_train_batches=1"], stop_after="parsing")
    limit = parsed.config["fit"].trainer.limit_train_batches
    assert (type(limit), limit) == (int, 1)  # Lightning takes 1.0 for all of them
