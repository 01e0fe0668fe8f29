"""Data whose batches show which samples they hold, and a model that writes down what it is given."""

from __future__ import annotations

import torch
from pytorch_lightning import LightningModule, Trainer

from robustnas.data import ImageData, Images

SEARCH = {"weights": ("weights",), "arch": ("arch",)}


class Numbered(ImageData):
    """Images whose regression target is their index, so that batches show which samples they hold."""

    def __init__(self, count=40, test_count=0, **shared):
        super().__init__(**{"augmentation": None, "batch_size": 4, **shared})
        self.count = count
        self.test_count = test_count
        self.loads = 0

    def load(self):
        self.loads += 1
        return self.part(self.count), self.part(self.test_count) if self.test_count else None

    def part(self, count):
        generator = torch.Generator().manual_seed(count)
        pixels = torch.randint(0, 256, (count, 2, 4, 4), dtype=torch.uint8, generator=generator)
        return Images(pixels, torch.arange(count).float(), "regression", ("index",))


class Recorder(LightningModule):
    """Writes down every batch it is given; its one weight makes Lightning save and load something."""

    def __init__(self, streams=None):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(()))
        self.trained, self.validated, self.tested = [], [], []
        if streams is not None:
            self.training_streams = streams

    def training_step(self, batch, batch_idx):
        self.trained.append(batch)
        return self.weight.square()

    def validation_step(self, batch, batch_idx):
        self.validated.append(batch)

    def test_step(self, batch, batch_idx):
        self.tested.append(batch)

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), 0.1)


def trainer(tmp_path, **options):
    quiet = {
        "logger": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
        "enable_checkpointing": False,
        "accelerator": "cpu",
        "max_epochs": 3,
    }
    return Trainer(default_root_dir=tmp_path, **{**quiet, **options})
