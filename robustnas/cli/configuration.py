"""A configuration of ``robustnas fit`` as an object: from options or the folder of a run, a run of it, and its test."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

import jsonargparse
import torch
from pytorch_lightning import Callback

from robustnas.cli import lightning_cli
from robustnas.cli.errors import explain
from robustnas.runtime.safe_yaml import read_yaml
from robustnas.runtime.trust import only_trusted
from robustnas.spaces import find_space

OWN = ("config", "run_dir", "ckpt_path", "seed_everything")  # of a single run, and no part of its configuration


def configuration(arguments: Sequence[str] | Mapping[str, Any]) -> dict[str, Any]:
    """Return the sections, of what JSON can hold, that options of ``robustnas fit`` or a configuration mean.

    Defaults are included, folder and seed are not.

    Raises:
        ValueError: If an option is unknown or wrong, in one sentence.
    """
    given = arguments if isinstance(arguments, Mapping) else ["fit", *arguments]
    parsed: Any = lightning_cli.main(given, stop_after="parsing").config.fit
    sections: dict[str, Any] = json.loads(json.dumps(parsed.as_dict(), default=_plain))
    for name in OWN:
        sections.pop(name, None)
    for name in ("model", "data"):
        (sections[name].get("init_args") or {}).pop("seed", None)
    return sections


def _plain(value: Any) -> Any:
    return value.as_dict() if isinstance(value, jsonargparse.Namespace) else str(value)  # the first in lists of classes


def instance_of(kind: type, name: str, given: list[str] | Mapping[str, Any]) -> Any:
    """An instance of a class by options, or by a section of a configuration; a wrong one is refused in a sentence."""
    parser = jsonargparse.ArgumentParser(exit_on_error=False, allow_abbrev=False)
    parser.add_subclass_arguments(kind, name)
    try:
        with only_trusted():
            options = parser.parse_args(given) if isinstance(given, list) else parser.parse_object({name: given})
            return getattr(parser.instantiate_classes(options), name)
    except (jsonargparse.ArgumentError, ValueError) as error:
        raise ValueError(explain(str(error))) from error


def run_of(sections: Mapping[str, Any], folder: Path, seed: int) -> dict[str, Any]:
    """A configuration with folder and seed, as ``main`` takes it; the run resumes where an earlier attempt stopped."""
    return {**sections, "seed_everything": seed, "run_dir": str(folder), "ckpt_path": "auto"}


def fit(
    sections: Mapping[str, Any], folder: Path, seed: int, callbacks: Sequence[Callback] = ()
) -> lightning_cli.RobustCLI:
    """Run a configuration in a folder, from its last checkpoint where there is one; callbacks are added to its own."""
    return lightning_cli.main(run_of(sections, folder, seed), callbacks=callbacks)


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
