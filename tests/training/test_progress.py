"""A decision is seen: its evaluations as a line beside the progress bar, its result as a sentence."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from pytorch_lightning.callbacks import ProgressBar, RichProgressBar, TQDMProgressBar
from runs import fit, search

from robustnas.strategies import LargestDrop


@pytest.mark.parametrize("bar", [RichProgressBar, TQDMProgressBar])
def test_a_decision_is_seen_with_either_progress_bar(
    bar: type[ProgressBar], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    callback = bar()
    quick = {"max_epochs": 1, "limit_train_batches": 1, "limit_val_batches": 1, "max_steps": 2}
    module = search(selection=LargestDrop("loss", finetune=1))
    fit(tmp_path, module, enable_progress_bar=True, callbacks=[callback], **quick)
    out, err = capsys.readouterr()
    (one,) = module.hooks["perturbation_selection"].entries
    assert f"epoch 1: cell {one['edge']} keeps {one['keeps']}; loss without:" in " ".join(out.split())
    if isinstance(callback, RichProgressBar):
        assert callback.progress is not None
        (line,) = [task for task in callback.progress.tasks if task.description == "deciding in epoch 1"]
        assert (line.completed, line.total, line.visible) == (5, 5, False)
    else:
        assert re.search(r"deciding in epoch 1:.*\| [0-5]/5 ", err)
