"""A search that resumes from any step sees the same batches as one that was not interrupted."""

from __future__ import annotations

import pytest
import torch
from numbered import SEARCH, Numbered, Recorder, trainer
from pytorch_lightning.callbacks import Callback

from robustnas.data import Augmentation, Batch


class SaveEveryStep(Callback):
    def __init__(self, folder, hook="on_train_batch_end"):
        self.folder = folder
        self.count = 0
        setattr(self, hook, self.save)

    def save(self, trainer, *_):
        if not trainer.sanity_checking:
            self.count += 1
            trainer.save_checkpoint(self.folder / f"{self.count}.ckpt")


def identity(batch):
    """Samples in order, seed and images, of every stream."""
    if isinstance(batch, Batch):
        return batch.targets.tolist(), int(batch.seed), batch.images.sum().item()
    return {name: identity(part) for name, part in batch.items()}


def identities(batches):
    return [identity(batch) for batch in batches]


STREAM_LAYOUTS = [
    pytest.param(SEARCH, (0.6, 0.2, 0.2), id="arch shorter"),
    pytest.param(SEARCH, (0.2, 0.6, 0.2), id="arch longer"),
    pytest.param(SEARCH, (0.5, 0.5, 0.0), id="no validation"),
    pytest.param({"train": ("weights", "arch")}, (0.3, 0.3, 0.4), id="one stream"),
]


STEPS = {"max_epochs": -1, "max_steps": 13}
INTERRUPTIONS = [
    pytest.param("on_train_batch_end", {}, id="batch"),
    pytest.param("on_train_batch_end", STEPS, id="batch, counting steps"),
    pytest.param("on_train_batch_end", {"limit_train_batches": 3}, id="batch, short epochs"),
    pytest.param("on_validation_end", {}, id="validation"),
    pytest.param("on_validation_end", STEPS, id="validation, counting steps"),
    pytest.param("on_validation_end", {"val_check_interval": 2}, id="validation inside epochs"),
    pytest.param("on_train_epoch_end", {}, id="epoch"),
    # Not the end of an epoch when counting steps: Lightning then skips the number of the next epoch.
]


@pytest.mark.parametrize(("hook", "limits"), INTERRUPTIONS)
@pytest.mark.parametrize(("streams", "fractions"), STREAM_LAYOUTS)
def test_a_resumed_run_sees_the_batches_of_an_undisturbed_one(tmp_path, streams, fractions, limits, hook):
    def run(**options):
        model = Recorder(streams)
        data = Numbered(fractions=fractions, test_fraction=0.0, augmentation=Augmentation(1, True, 2))
        trainer(tmp_path, **limits, **options.pop("trainer", {})).fit(model, data, **options)
        return model

    saver = SaveEveryStep(tmp_path, hook)
    expected = identities(run(trainer={"callbacks": [saver]}).trained)
    steps = [torch.load(path, weights_only=True)["global_step"] for path in checkpoints(tmp_path)]
    assert len(steps) == saver.count
    assert hook != "on_train_batch_end" or len(steps) == len(expected)
    for path, step in zip(checkpoints(tmp_path), steps, strict=True):
        assert identities(run(ckpt_path=path, weights_only=True).trained) == expected[step:], (path, step)


def checkpoints(folder):
    return sorted(folder.glob("*.ckpt"), key=lambda path: int(path.stem))
