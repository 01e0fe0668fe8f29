"""Trainings that take no time, in the place of `fit`, and an engine that runs jobs in this process."""

from __future__ import annotations

import importlib
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
import yaml

from robustnas.runs.record import write_text
from robustnas.studies.engine import Event, Job
from robustnas.studies.pool import Pool
from robustnas.studies.process import one_sentence

GENOTYPE = "|nor_conv_3x3~0|+|none~0|skip_connect~1|+|nor_conv_1x1~0|avg_pool_3x3~1|nor_conv_3x3~2|"
TINY: dict[str, Any] = {
    "name": "tiny",
    "run": GENOTYPE,
    "config": "quickstart_evaluation.yaml",
    "options": {
        "model.init_args.architecture.init_args": {"channels": 2, "cells": 1},
        "data": {"class_path": "robustnas.data.Digits", "init_args": {"batch_size": 16}},
        "trainer": {"max_epochs": 9, "logger": False, "accelerator": "cpu"},
    },
    "space": {
        "model.init_args.lr": {"low": 1e-3, "high": 1.0, "log": True},
        "data.init_args.batch_size": {"choices": [16, 32]},
    },
    "trials": 4,
    "sampler": {"name": "TPE", "startup": 2},
}


class Inline(Pool):
    """The jobs one after the other in this process."""

    def __init__(self) -> None:
        super().__init__(1)

    def run(self, jobs: Sequence[Job]) -> Iterator[Event]:
        for job in jobs:
            module, _, name = job.function.partition(":")
            yield Event(job.key, "started", 1)
            try:
                value = getattr(importlib.import_module(module), name)(job.payload)
            except Exception as error:  # as a worker does
                yield Event(job.key, "failed", 1, one_sentence(error))
            else:
                yield Event(job.key, "done", 1, value=value)


class Trainings:
    """What `fit` is replaced by: the accuracy is best at a step size of 0.1, and grows over the epochs."""

    def __init__(self) -> None:
        self.begun: list[tuple[str, float]] = []  # folder and step size of each
        self.epochs: list[int] = []
        self.at_epoch: Callable[[int, int], None] = lambda number, epoch: None
        self.metric = "val/top1"

    def __call__(self, sections: Mapping[str, Any], folder: Path, seed: int, callbacks: Sequence[Any] = ()) -> None:
        lr = sections["model"]["init_args"]["lr"]
        self.begun.append((folder.parent.name, lr))
        trainer: Any = SimpleNamespace(
            max_epochs=sections["trainer"]["max_epochs"], callback_metrics={}, current_epoch=0, should_stop=False
        )
        self.epochs.append(0)
        rows = ["epoch,step,seconds,val/top1"]
        while trainer.current_epoch < trainer.max_epochs and not trainer.should_stop:
            for callback in callbacks:
                callback.on_train_epoch_start(trainer, None)
            self.at_epoch(len(self.begun) - 1, trainer.current_epoch)
            value = accuracy(lr, trainer.current_epoch)
            trainer.callback_metrics = {self.metric: torch.tensor(value)}
            for callback in callbacks:
                callback.on_train_epoch_end(trainer, None)
            rows.append(f"{trainer.current_epoch},1,1.0,{value}")
            trainer.current_epoch += 1
            self.epochs[-1] += 1
        write_text(folder / "metrics.csv", "\n".join(rows) + "\n")


def accuracy(lr: float, epoch: int) -> float:
    return (1 - abs(math.log10(lr) + 1) / 3) * (1 - 0.5 ** (epoch + 1))


def write(folder: Path, **changed: Any) -> str:
    path = folder / "tiny.yaml"
    path.write_text(yaml.safe_dump({**TINY, **changed}, sort_keys=False), encoding="utf-8")
    return str(path)
