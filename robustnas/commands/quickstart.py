"""``robustnas quickstart``: a search on handwritten digits and the evaluation of its result, in minutes."""

from __future__ import annotations

import json
import time
from importlib.resources import files
from pathlib import Path

import torch

from robustnas.cli import lightning_cli
from robustnas.cli.configuration import Result, data_of, train_and_test
from robustnas.cli.errors import Parser
from robustnas.commands.evaluate import print_results
from robustnas.networks.resnet import channels_for
from robustnas.runs.record import read_genotype
from robustnas.runs.run_lock import holds_run, new_folder
from robustnas.runtime.launch import resume_command


def parser() -> Parser:
    """The options of ``robustnas quickstart``."""
    parser = Parser(
        prog="robustnas quickstart",
        description="Search with DARTS on scikit-learn's handwritten digits, then train the found network and a "
        "ResNet of similar size from scratch. Takes about two minutes on two cores.",
    )
    parser.add_path("--run-dir", help="folder of the results (default: a new one under runs/)")
    parser.add_argument("--seed", type=int, default=0, help="random seed (default: 0)")
    return parser


def main(arguments: list[str]) -> None:
    """Search on scikit-learn's digits with DARTS; train and test the result and a ResNet of similar size."""
    options = parser().parse_args(arguments[1:])
    root = Path(options.run_dir) if options.run_dir else new_folder("quickstart")
    if root.is_dir() and holds_run(root):
        raise ValueError(f"Expected `--run-dir` to be new or the folder of a quickstart, but {root} holds another run.")
    threads = torch.get_num_threads()
    # Images of 8 x 8 gain nothing from threads, and on busy cores waiting threads take 70 times longer.
    torch.set_num_threads(1)
    try:
        again = resume_command(["quickstart"], "--run-dir", str(root), "--seed", str(options.seed))
        _compare(root, ["--seed_everything", str(options.seed), "--ckpt_path", "auto"], again)
    finally:
        torch.set_num_threads(threads)


def _compare(root: Path, seed: list[str], again: str) -> None:
    print("Searching for an architecture with DARTS ...")
    start = time.perf_counter()
    words = ["-c", _config("quickstart_search"), "--run-dir", str(root / "search")]
    lightning_cli.main(["fit", *words, *seed], again=again)
    print(f"\nFound in {time.perf_counter() - start:.0f} s: {read_genotype(str(root / 'search'))}\n")
    print("Training the found network from scratch ...")
    data = ["--data", json.dumps(data_of(root / "search")), *seed]
    chosen = ["--model.init_args.architecture.init_args.genotype", str(root / "search")]
    recipe = ["-c", _config("quickstart_evaluation")]
    words = [*recipe, *chosen, *data, "--run-dir", str(root / "evaluation")]
    found = train_and_test("found by DARTS", words, again)
    print("\nTraining a ResNet of similar size from scratch ...")
    plain = ["--model.init_args.architecture", json.dumps(_resnet_like(found))]
    resnet = train_and_test("ResNet", [*recipe, *plain, *data, "--run-dir", str(root / "resnet")], again)
    print()
    print_results([found, resnet])
    print(f"Cells: {root / 'search' / 'genotype.svg'}   Curves: tensorboard --logdir {root}")


def _config(name: str) -> str:
    return str(files("robustnas.configs") / f"{name}.yaml")


def _resnet_like(found: Result) -> dict[str, object]:
    channels = channels_for(found.parameters, blocks=1, image_channels=1)
    return {"class_path": "robustnas.training.ResNet", "init_args": {"channels": channels, "blocks": 1}}
