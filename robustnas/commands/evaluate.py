"""``robustnas evaluate``: train the genotype of a search from scratch, and test it."""

from __future__ import annotations

import json
from pathlib import Path

from rich.console import Console
from rich.table import Table

from robustnas.analysis.metrics import TEST_LOSS
from robustnas.analysis.registry import find
from robustnas.cli.configuration import Result, data_of, recipe_of, section_of, train_and_test
from robustnas.cli.errors import Parser
from robustnas.planning.command import LARGEST_BATCH, Asked, add_options, prepared
from robustnas.planning.given import value_at
from robustnas.planning.target import BATCH
from robustnas.runs.record import read_genotype
from robustnas.runtime.launch import resume_command
from robustnas.runtime.paths import find_config
from robustnas.runtime.safe_yaml import read_yaml


def parser() -> Parser:
    """The options of ``robustnas evaluate``."""
    parser = Parser(
        prog="robustnas evaluate",
        description="Train the genotype of a search from scratch on the data of the search, and test it.",
        epilog="Further options are those of `robustnas fit`, such as --trainer.max_epochs 100; they win over what "
        "--recipe auto chooses.",
    )
    parser.add_path("folder", metavar="RUN", help="folder of the search")
    parser.add_argument("-c", "--config", help="YAML of the evaluation (default: the recipe of the space's paper)")
    parser.add_path("--run-dir", help="folder of the evaluation (default: RUN/evaluation)")
    add_options(parser, "auto, with --config paper")
    return parser


def main(arguments: list[str]) -> None:
    """Train and test the genotype of a search."""
    options, rest = parser().parse_known_args(arguments[1:])
    folder = Path(options.folder)
    if folder.is_file():
        raise ValueError(
            f"Expected RUN to be the folder of a search, but {folder} is a file; to train a genotype without a run, "
            "use `robustnas fit --model EvaluationModule --model.architecture Found --model.architecture.genotype "
            "FILE`."
        )
    if not folder.is_dir():
        raise ValueError(f"Expected RUN to be the folder of a search, but there is no {folder}.")
    genotype = read_genotype(str(folder))
    space = str(section_of(folder, "model")["init_args"].get("space") or genotype.space)
    config = options.config or recipe_of(space)
    architecture = "--model.init_args.architecture.init_args"
    words = ["-c", config, f"{architecture}.genotype", str(folder), f"{architecture}.space", space]
    run_dir = options.run_dir or str(folder / "evaluation")
    words += ["--data", json.dumps(data_of(folder)), "--run-dir", run_dir]
    recipe = options.recipe or ("paper" if options.config else "auto")
    asked = Asked(recipe, options.budget, options.dry_run, _batch_of(config))
    with prepared(asked, words, rest, run_dir) as chosen:
        if chosen is None:
            return
        again = resume_command(arguments, "--ckpt_path", "last")
        result = train_and_test("found", [*words, *rest, *chosen], again)
    print_results([result])
    print(f"Run: {result.folder}")


def _batch_of(config: str) -> int:
    """The batch of a recipe, which the data of the search would replace."""
    return int(value_at(read_yaml(find_config(config)), BATCH) or LARGEST_BATCH)


def print_results(results: list[Result]) -> None:
    """Print evaluations on the same data as a table."""
    table = Table(title="Test set", title_justify="left")
    table.add_column("network")
    names = [name for name in results[0].metrics if name != TEST_LOSS.name]
    for column in (*(name.removeprefix("test/") for name in names), "parameters", "seconds"):
        table.add_column(column, justify="right")
    for result in results:
        shares = [f"{result.metrics[name]:{'.2%' if find(name).unit == '%' else '.4f'}}" for name in names]
        table.add_row(result.name, *shares, f"{result.parameters:,}", f"{result.seconds:.0f}")
    Console().print(table)
