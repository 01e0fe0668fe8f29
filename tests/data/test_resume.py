"""A search that resumes from any step sees the same batches as one that was not interrupted."""

from __future__ import annotations

import itertools

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


STREAM_LAYOUTS = {
    "arch shorter": (SEARCH, (0.6, 0.2, 0.2)),
    "arch longer": (SEARCH, (0.2, 0.6, 0.2)),
    "no validation": (SEARCH, (0.5, 0.5, 0.0)),
    "one stream": ({"train": ("weights", "arch")}, (0.3, 0.3, 0.4)),
}
STEPS = {"max_epochs": -1, "max_steps": 13}
INTERRUPTIONS = {
    "batch": ("on_train_batch_end", {}),
    "batch, counting steps": ("on_train_batch_end", STEPS),
    "batch, short epochs": ("on_train_batch_end", {"limit_train_batches": 3}),
    "validation": ("on_validation_end", {}),
    "validation, counting steps": ("on_validation_end", STEPS),
    "validation inside epochs": ("on_validation_end", {"val_check_interval": 2}),
    "epoch": ("on_train_epoch_end", {}),
    # Not the end of an epoch when counting steps: Lightning then skips the number of the next epoch.
}
SAMPLED = [  # every layout and every interruption, each layout inside an epoch and after its end
    *(("batch", layout) for layout in STREAM_LAYOUTS),
    ("batch, counting steps", "arch longer"),
    ("batch, short epochs", "arch shorter"),
    ("validation", "one stream"),
    ("validation, counting steps", "arch shorter"),
    ("validation inside epochs", "arch longer"),
    ("epoch", "no validation"),
]
OTHERS = [pair for pair in itertools.product(INTERRUPTIONS, STREAM_LAYOUTS) if pair not in SAMPLED]


@pytest.mark.parametrize(
    ("interruption", "layout"), [*SAMPLED, *(pytest.param(*pair, marks=pytest.mark.slow) for pair in OTHERS)]
)
def test_a_resumed_run_sees_the_batches_of_an_undisturbed_one(tmp_path, interruption, layout):
    (streams, fractions), (hook, limits) = STREAM_LAYOUTS[layout], INTERRUPTIONS[interruption]

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
