"""Train a network from scratch on the data of a run, and test it once."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

import torch

from robustnas.cli import lightning_cli
from robustnas.runtime.safe_yaml import read_yaml
from robustnas.spaces import find_space


@dataclass(frozen=True)
class Result:
    """Metrics on the test set, and the number of weights, auxiliary head included, of an evaluated network."""

    name: str
    metrics: dict[str, float]
    parameters: int
    seconds: float
    folder: Path
    device: str = "cpu"


def data_of(folder: Path) -> dict[str, Any]:
    """The section `data` of a run's configuration, without the seed, which `--seed_everything` sets."""
    data = section_of(folder, "data")
    data["init_args"].pop("seed", None)
    return data


def recipe_of(space: str) -> str:
    """The YAML file with the evaluation recipe of a space's paper; genotype and data are still to be given."""
    return str(files("robustnas.configs") / find_space(space).rules.recipe)


def section_of(folder: Path, name: str) -> dict[str, Any]:
    """A section of a run's configuration, `model` or `data`, as ``class_path`` and ``init_args``."""
    path = folder / "config.yaml"
    content = read_yaml(path)
    section = content.get(name) if isinstance(content, dict) else None
    section = {"init_args": {}, **section} if isinstance(section, dict) else {}
    if not isinstance(section.get("class_path"), str) or not isinstance(section["init_args"], dict):
        raise ValueError(f"Expected {path} to be the configuration of a run with `{name}`, but it has no such section.")
    return section


def train_and_test(name: str, arguments: list[str] | Mapping[str, Any], again: str | None = None) -> Result:
    """Train a network by options or a configuration of ``robustnas fit``, and measure it on the test set once."""
    start = time.perf_counter()
    given = ["fit", *arguments] if isinstance(arguments, list) else arguments
    run = lightning_cli.main(given, again=again)
    measured = run.trainer.test(run.model, datamodule=run.datamodule, verbose=False)
    count = sum(parameter.numel() for parameter in run.model.parameters())
    return Result(name, dict(measured[0]), count, time.perf_counter() - start, run.folder, device_of(run))


def device_of(run: lightning_cli.RobustCLI) -> str:
    """The name of the GPU that a run used, or the type of another device, such as ``cpu``."""
    device = run.trainer.strategy.root_device
    return torch.cuda.get_device_name(device) if device.type == "cuda" else str(device.type)
