"""The search to check: the user's own with a smaller network, on a slice of the user's own data."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from lightning_fabric.plugins.environments.lightning import LightningEnvironment
from pytorch_lightning import Callback, Trainer
from pytorch_lightning.callbacks import ModelCheckpoint
from torch import Tensor

from robustnas.cli import lightning_cli
from robustnas.data import Batch, ImageData
from robustnas.data.images import Images
from robustnas.data.roles import Role
from robustnas.networks.cell import Cell
from robustnas.runtime.launch import count_processes
from robustnas.training import SearchModule
from robustnas.training.checks import check_fit, check_precision
from robustnas.training.description import build, plain
from robustnas.training.recorder import RunRecorder
from robustnas.training.search import by_step

CHANNELS = 4  # of the reduced network, as far as the space and the parts allow
SIDE = {"cifar": 32, "imagenet": 64}  # largest side of its images
BATCHES: dict[Role, int] = {"weights": 3, "arch": 2, "selection": 2, "test": 1}
SAVED = 4  # the step whose checkpoint is resumed: inside the second epoch
EPOCHS = 2


class ReachedError(Exception):
    """Ends a run after the observed step."""


@dataclass
class Subject:
    """A search to check, with its data, trainer options and command line, and the small runs that checks share."""

    search: SearchModule
    data: ImageData
    precision: Any
    accelerator: str
    devices: int
    words: Sequence[str]
    folder: Path
    ranks: Any = None

    def __post_init__(self) -> None:
        self.data.setup("fit")
        run = SimpleNamespace(max_epochs=EPOCHS, precision=self.precision, datamodule=self.data)
        check_fit(self.search, run, "fit")  # type: ignore[arg-type]

    def reduced(self, **changes: Any) -> SearchModule:
        """A fresh search with the same parts and space in a small network; each call gives the same weights and α."""
        given = dict(self.search.description["init_args"])
        space = self.search.space
        cells = [module for module in self.search.supernet.modules() if isinstance(module, Cell)]
        minimum = 2 * max((cell.channels // cell.through for cell in cells), default=0)  # two for each operation
        given["channels"] = min(given["channels"], max(CHANNELS, minimum))
        if (depth := space.rules.depth) is not None:
            given[depth] = space.rules.least_depth + self.search.weight_hook.extra_depth
        given |= {"arch_start": 0, "arch_every": 1}
        if self.search.selection.epochs(space):
            given["selection"] = {"class_path": "robustnas.strategies.Strongest"}
        given |= {name: plain(value) for name, value in changes.items()}
        return build({**self.search.description, "init_args": given}, SearchModule)

    @cached_property
    def size(self) -> str:
        """The size of the reduced network, in words."""
        small, space = self.reduced().description["init_args"], self.search.space
        layers = small["layers"]
        depth = {"layers": f", {layers} layer{'s' if layers != 1 else ''}", "cells": f", {small['cells']} cell a stage"}
        return f"{space.name}, {small['channels']} channels{depth.get(space.rules.depth or '', '')}"

    def slice(self, batch_size: int = 8, processes: int = 1, noisy_test: bool = False) -> ImageData:
        """Some samples of each role, cropped if large; ``noisy_test`` replaces all test images by noise."""
        full, data = self.data.split, copy.copy(self.data)
        size = min(self.data.batch_size, batch_size)
        split = copy.copy(full)
        wanted = {role: min(size * processes * count, len(full.indices[role])) for role, count in BATCHES.items()}
        split.indices = {role: _evenly(full.indices[role], count) for role, count in wanted.items()}
        own = [role for role in BATCHES if full.part(role) is full.train]
        split.train = self._cut(full.train, torch.cat([split.indices[role] for role in own]))
        ends = torch.tensor([len(split.indices[role]) for role in own]).cumsum(0).tolist()
        for role, end in zip(own, ends, strict=True):
            split.indices[role] = torch.arange(end - len(split.indices[role]), end)
        if full.test is not None:
            split.test = self._cut(full.test, split.indices["test"])
            split.indices["test"] = torch.arange(len(split.test))
        if noisy_test:
            pixels, tested = split.part("test").pixels, split.indices["test"]
            noise = torch.randint(256, pixels[tested].shape, generator=torch.Generator().manual_seed(1))
            pixels[tested] = noise.to(torch.uint8)
        data.split, data.trainer = split, None
        vars(data).pop("prepare", None)  # normalises by the statistics of the samples
        data.batch_size = data.eval_batch_size = size
        return data

    def _cut(self, images: Images, indices: Tensor) -> Images:
        side = SIDE[self.search.description["init_args"]["stem"]]
        return replace(
            images, pixels=images.pixels[indices][..., :side, :side].clone(), targets=images.targets[indices]
        )

    def trainer(self, name: str, **options: Any) -> Trainer:
        """A trainer without output, in a folder of its own."""
        off = dict.fromkeys(("logger", "enable_progress_bar", "enable_model_summary", "use_distributed_sampler"), False)
        quiet = {
            **off,
            "accelerator": self.accelerator,
            "devices": 1,
            "precision": self.precision,
            "max_epochs": EPOCHS,
            "num_sanity_val_steps": 0,
            "default_root_dir": self.folder / name,
            "enable_checkpointing": any(isinstance(one, ModelCheckpoint) for one in options.get("callbacks", ())),
            "plugins": [LightningEnvironment()],  # this process only, also within a job of several
            "deterministic": "warn" if self.accelerator == "gpu" else None,
        }
        return Trainer(**{**quiet, **options})

    def fit(
        self,
        name: str,
        search: SearchModule | None = None,
        data: ImageData | None = None,
        checkpoint: Path | None = None,
        callbacks: Sequence[Callback] = (),
    ) -> dict[str, Tensor]:
        """Run the reduced search, and return its final state by name."""
        running = self.trainer(name, callbacks=list(callbacks))
        torch.manual_seed(0)
        running.fit(search or self.reduced(), data or self.slice(), ckpt_path=checkpoint and str(checkpoint))
        return {**final_state(running), "random state": torch.get_rng_state()}

    @cached_property
    def straight(self) -> dict[str, Tensor]:
        """The final state of an uninterrupted run, which also writes :attr:`checkpoint`."""
        saver = ModelCheckpoint(self.folder, "{step}", every_n_train_steps=SAVED, save_top_k=-1)
        return self.fit("straight", callbacks=[saver])

    @property
    def checkpoint(self) -> Path:
        """The checkpoint that :attr:`straight` writes inside its second epoch."""
        return self.folder / f"step={SAVED}.ckpt"

    @cached_property
    def unstable(self) -> list[str]:
        """What differs between two runs that should be equal."""
        return differing(self.fit("again"), self.straight)

    def in_step(self, look: Callable[[SearchModule, Mapping[str, Batch]], Any], **changes: Any) -> Any:
        """Call ``look`` with the search and the batch in its third step, in float64, and end the run there."""
        search, seen = self.reduced(**changes), []
        step = search.training_step

        def observed(batch: Mapping[str, Batch] | Batch, batch_idx: int) -> None:
            if search.global_step < 2:
                return step(batch, batch_idx)
            seen.append(look(search, by_step(batch)))
            raise ReachedError

        search.training_step = observed  # type: ignore[method-assign]
        try:
            self.trainer("inside", precision="64-true", limit_val_batches=0).fit(search, self.slice())
        except ReachedError:
            return seen[0]
        raise ValueError("Expected the search to reach its third step, but it ended earlier.")


def describe(words: Sequence[str], folder: Path) -> Subject:
    """The search that options of ``robustnas fit`` describe, as the subject of checks that run in a folder."""
    described = lightning_cli.main(["fit", *words], stop_after="instantiation")
    if not isinstance(described.model, SearchModule):
        raise ValueError(f"Expected `model` to be a search, but got {type(described.model).__name__}.")
    config: Any = described.config["fit"].trainer
    check_precision(config.precision)
    precision = "32-true" if config.precision is None else config.precision
    gpu = config.accelerator in ("auto", "gpu", "cuda") and torch.cuda.is_available()
    devices = count_processes(config)
    return Subject(
        described.model, described.datamodule, precision, "gpu" if gpu else "cpu", devices, list(words), folder
    )


def _evenly(indices: Tensor, count: int) -> Tensor:
    """Some of the indices, evenly spaced, since data are often sorted by class."""
    return indices[torch.arange(count) * len(indices) // max(count, 1)]


def final_state(running: Trainer) -> dict[str, Tensor]:
    """The complete state of a search: module, optimisers, schedules and recorded metrics."""
    module: Any = running.lightning_module
    found = {f"state {name}": value for name, value in module.state_dict().items() if isinstance(value, Tensor)}
    found = {name: value for name, value in found.items() if "metrics." not in name and "means." not in name}
    found |= {f"candidates {kind}": kept for kind, kept in module.architecture.active_mask.items()}
    for k, optimizer in enumerate(running.optimizers):
        held = optimizer.state_dict()
        for index, values in held["state"].items():
            found |= {f"optimizer {k} {index} {name}": torch.as_tensor(value) for name, value in values.items()}
        found[f"optimizer {k} lr"] = torch.tensor(held["param_groups"][0]["lr"], dtype=torch.float64)
    recorder = next(one for one in running.callbacks if isinstance(one, RunRecorder))  # type: ignore[attr-defined]
    for row in recorder.rows:
        logged = {name: value for name, value in row.items() if name != "seconds"}
        found |= {
            f"epoch {row['epoch']} {name}": torch.tensor(value, dtype=torch.float64) for name, value in logged.items()
        }
    return {name: value.detach().cpu().clone() for name, value in found.items()}


def differing(found: Mapping[str, Tensor], expected: Mapping[str, Tensor], extra: bool = False) -> list[str]:
    """Names of tensors that are not equal bit for bit, or missing on one side; ``extra`` permits more in ``found``."""
    names = list(expected) if extra else list(dict.fromkeys([*expected, *found]))
    return [name for name in names if not _equal(found.get(name), expected.get(name))]


def _equal(one: Tensor | None, other: Tensor | None) -> bool:
    if one is None or other is None or one.shape != other.shape or one.dtype != other.dtype:
        return False
    return bool(torch.equal(one.nan_to_num(), other.nan_to_num()) and torch.equal(one.isnan(), other.isnan()))
