"""Train a network from scratch on the data of a run, and test it once."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from robustnas import cli


@dataclass(frozen=True)
class Result:
    """What an evaluation measured.

    Args:
        name: What was evaluated.
        metrics: Metrics on the test set by name.
        parameters: Number of weights, those of an auxiliary head included.
        seconds: Time that training and testing took.
        folder: Folder of the run.
    """

    name: str
    metrics: dict[str, float]
    parameters: int
    seconds: float
    folder: Path


def data_of(folder: Path) -> dict[str, Any]:
    """The data section of a run's configuration.

    Args:
        folder: Folder of the run.

    Returns:
        ``class_path`` and ``init_args``, without the seed, which is set with ``--seed_everything``.

    Raises:
        ValueError: If the folder holds no configuration with data.
    """
    data = section_of(folder, "data")
    data.get("init_args", {}).pop("seed", None)
    return data


def section_of(folder: Path, name: str) -> dict[str, Any]:
    """A section of a run's configuration.

    Args:
        folder: Folder of the run.
        name: The section, ``model`` or ``data``.

    Returns:
        ``class_path`` and what else it has.

    Raises:
        ValueError: If the folder holds no configuration with that section.
    """
    path = folder / "config.yaml"
    try:
        section = yaml.safe_load(path.read_text(encoding="utf-8"))[name]
        return {"class_path": section["class_path"], **section}
    except (OSError, yaml.YAMLError, TypeError, KeyError, UnicodeDecodeError) as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise ValueError(
            f"Expected {path} to be the configuration of a run with `{name}`, but reading it fails: {reason}"
        ) from error


def train_and_test(name: str, words: list[str]) -> Result:
    """Train a network and measure it on the test set once.

    Args:
        name: What is evaluated, for the table.
        words: Options of ``robustnas fit``.

    Returns:
        What was measured.
    """
    start = time.perf_counter()
    run = cli.main(["fit", *words])
    measured = run.trainer.test(run.model, datamodule=run.datamodule, verbose=False)
    count = sum(parameter.numel() for parameter in run.model.parameters())
    return Result(name, dict(measured[0]), count, time.perf_counter() - start, run.folder)
