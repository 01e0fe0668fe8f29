"""``robustnas evaluate``: train the genotype that a run found from scratch, and test it."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from robustnas import cli
from robustnas.options import Parser
from robustnas.record import read_genotype
from robustnas.spaces import find_space
from robustnas.trust import read_yaml


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


def main(arguments: list[str]) -> None:
    """Evaluate what a run found.

    Args:
        arguments: ``evaluate`` and its options.

    Raises:
        ValueError: If the run holds no genotype or no configuration, or an option is wrong.
    """
    parser = Parser(
        prog="robustnas evaluate",
        description="Train the genotype that a run found from scratch on the run's data, and test it.",
        allow_abbrev=False,
        epilog="Any option of `robustnas fit` may follow, such as --trainer.max_epochs 100.",
    )
    parser.add_argument("folder", metavar="RUN", help="folder of the search")
    parser.add_argument("-c", "--config", help="YAML of the evaluation (default: the recipe of the space's paper)")
    parser.add_argument("--run", help="folder of the evaluation (default: RUN/evaluation)")
    options, rest = parser.parse_known_args(arguments[1:])
    folder = Path(options.folder)
    genotype = read_genotype(str(folder))
    space = str(_section(folder, "model")["init_args"].get("space") or genotype.space)
    config = options.config or str(files("robustnas.configs") / f"evaluate_{find_space(space).skeleton}.yaml")
    architecture = "--model.init_args.architecture.init_args"
    words = ["-c", config, f"{architecture}.genotype", str(folder), f"{architecture}.space", space]
    words += ["--data", json.dumps(data_of(folder)), "--run", options.run or str(folder / "evaluation")]
    result = train_and_test("found", [*words, *rest])
    print_results([result])
    print(f"Run: {result.folder}")


def data_of(folder: Path) -> dict[str, Any]:
    """The data section of a run's configuration.

    Args:
        folder: Folder of the run.

    Returns:
        ``class_path`` and ``init_args``, without the seed, which is set with ``--seed_everything``.

    Raises:
        ValueError: If the folder holds no configuration with data.
    """
    data = _section(folder, "data")
    data["init_args"].pop("seed", None)
    return data


def _section(folder: Path, name: str) -> dict[str, Any]:
    path = folder / "config.yaml"
    content = read_yaml(path)
    section = content.get(name) if isinstance(content, dict) else None
    section = {"init_args": {}, **section} if isinstance(section, dict) else {}
    if not isinstance(section.get("class_path"), str) or not isinstance(section["init_args"], dict):
        raise ValueError(f"Expected {path} to be the configuration of a run with `{name}`, but it has no class of it.")
    return section


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


def print_results(results: list[Result]) -> None:
    """Print evaluations as a table.

    Args:
        results: What was measured, on the same data.
    """
    table = Table(title="Test set", title_justify="left")
    table.add_column("network")
    names = [name for name in results[0].metrics if name != "test/loss"]
    for column in (*(name.removeprefix("test/") for name in names), "parameters", "seconds"):
        table.add_column(column, justify="right")
    for result in results:
        shares = [_figure(name, result.metrics[name]) for name in names]
        table.add_row(result.name, *shares, f"{result.parameters:,}", f"{result.seconds:.0f}")
    Console().print(table)


def _figure(name: str, value: float) -> str:
    return f"{value:.2%}" if name in ("test/top1", "test/top5", "test/accuracy") else f"{value:.4f}"
