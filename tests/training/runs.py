"""Small searches on real images, with a real trainer."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from copy import deepcopy
from functools import cache
from pathlib import Path
from typing import Any
from unittest import mock

import sklearn.datasets
import torch
from pytorch_lightning import Callback, Trainer
from pytorch_lightning.callbacks import ModelCheckpoint
from robustnas.variants import DARTS
from torch import Tensor

from robustnas.data import Digits
from robustnas.runtime import environment
from robustnas.training import recorder
from robustnas.training.recorder import RunRecorder
from robustnas.training.search import SearchModule

SMALLEST: dict[str, dict[str, Any]] = {
    "NASBench201": {"space": "NASBench201", "cells": 1},
    "S2": {"space": "S2", "layers": 3},
    "DARTS": {"space": "DARTS", "layers": 3},
}


def search(space: str = "NASBench201", **options: Any) -> DARTS:
    return DARTS(**{"channels": 4, "image_channels": 1, **SMALLEST[space], **options})


def digits(**options: Any) -> Digits:
    """Five batches of weights and three of α in an epoch; the latter are cycled."""
    return Digits(**{"batch_size": 16, "fractions": (0.06, 0.04, 0.04), **options})


def trainer(folder: Path, **options: Any) -> Trainer:
    quiet = {
        "accelerator": "cpu",
        "max_epochs": 1,
        "logger": False,
        "enable_checkpointing": any(isinstance(one, ModelCheckpoint) for one in options.get("callbacks", ())),
        "enable_progress_bar": False,
        "enable_model_summary": False,
        "use_distributed_sampler": False,
    }
    return Trainer(default_root_dir=folder, **{**quiet, **options})


_repository = cache(environment._repository)
_read = cache(sklearn.datasets.load_digits)


def _images() -> Any:
    return deepcopy(_read())


@contextmanager
def cheap(drawings: bool) -> Iterator[None]:
    """What costs as much as a short search is done once in a process, or left out: digits, git, pictures of the end."""
    with ExitStack() as stack:
        stack.enter_context(mock.patch.object(sklearn.datasets, "load_digits", _images))
        stack.enter_context(mock.patch.object(environment, "_repository", _repository))
        if not drawings:
            stack.enter_context(mock.patch.object(recorder, "save_drawing"))
        yield


def fit(
    folder: Path,
    module: SearchModule | None = None,
    ckpt_path: Path | None = None,
    drawings: bool = False,
    **options: Any,
) -> Trainer:
    """Run a search; the result has its ``lightning_module``."""
    data = options.pop("data", None) or digits()
    running = trainer(folder, **options)
    with cheap(drawings):
        running.fit(module or search(), data, ckpt_path=ckpt_path, weights_only=True)
    return running


def state(running: Trainer) -> dict[str, Tensor]:
    """All numbers a search consists of, by name: α, weights, running statistics, what the optimisers hold."""
    module: Any = running.lightning_module
    tensors = {name: value.clone() for name, value in module.state_dict().items() if "metrics" not in name}
    tensors = {name: value for name, value in tensors.items() if not name.startswith("means")}
    for k, optimiser in enumerate(running.optimizers):
        held = optimiser.state_dict()
        for index, values in held["state"].items():
            for name, value in values.items():
                tensors[f"optimiser {k} {index} {name}"] = torch.as_tensor(value).clone()
        tensors[f"optimiser {k} lr"] = torch.tensor(held["param_groups"][0]["lr"], dtype=torch.float64)
    return tensors


def differing(one: dict[str, Tensor], other: dict[str, Tensor]) -> list[str]:
    """Names of the tensors that are not equal bit for bit."""
    assert one.keys() == other.keys()
    return [name for name in one if not torch.equal(one[name], other[name])]


class StopAfter(Callback):
    """Interrupts a run as a killed process is, after the checkpoint of a step."""

    def __init__(self, step: int) -> None:
        self.step = step

    def on_train_batch_start(self, trainer: Trainer, *_: Any) -> None:
        if trainer.global_step == self.step:
            raise RuntimeError("killed")


def rows(running: Trainer) -> list[dict[str, float]]:
    """What the run's record says of its epochs, apart from how long they took."""
    recorder = next(callback for callback in running.callbacks if isinstance(callback, RunRecorder))
    return [{name: value for name, value in row.items() if name != "seconds"} for row in recorder.rows]
