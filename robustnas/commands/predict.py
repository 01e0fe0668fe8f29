"""``robustnas predict``: what a trained network says of images."""

from __future__ import annotations

import argparse
import io
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from itertools import islice
from pathlib import Path
from typing import Any, TextIO

import torch
from rich.console import Console
from rich.progress import track
from torch import Tensor

from robustnas.cli.errors import CommandLineError, Parser, path_option
from robustnas.data.image_items import ImageItems, Item, unreadable
from robustnas.inference import TrainedNetwork, load_network
from robustnas.inference.prediction import outcomes, probabilities
from robustnas.inference.rows import csv_lines, json_lines, row_of
from robustnas.inference.scores import Scores
from robustnas.runtime.atomic_files import open_atomically
from robustnas.runtime.environment import usable_cores

SKIPPED = 3  # exit status where images were left out
FORMATS: dict[str, Callable[[Sequence[dict[str, Any]], bool], str]] = {".csv": csv_lines, ".jsonl": json_lines}

EPILOG = """exit status:
  0 all images were predicted, 3 some could not be read and are listed;
  1 if there is nothing to predict, 2 after a wrong command line

Images of a folder whose subfolders are all named like classes are of these
classes, and rows of a parquet file of the one in its label column; then top-1
accuracy, top-5 of more than five classes, and the accuracy of each class follow.
"""


def parser() -> Parser:
    """The options of ``robustnas predict``."""
    parser = Parser(
        prog="robustnas predict",
        description="Predict the classes of images with the network of an evaluation, as CSV or JSON lines.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_path("run", metavar="RUN", help="folder of an evaluation or of its search, or a checkpoint")
    parser.add_argument(
        "paths", metavar="PATH", nargs="*", type=path_option("PATH"), help="images, folders of them, parquet files"
    )
    parser.add_path("--out", metavar="FILE", help="file ending in .csv or .jsonl (default: CSV on standard output)")
    parser.add_argument("--batch-size", type=int, default=64, help="images that are computed at once (default: 64)")
    parser.add_argument("--top", type=int, default=1, metavar="K", help="most probable classes to write (default: 1)")
    parser.add_argument("--image-column", metavar="NAME", help="column of a parquet file (default: img or image)")
    parser.add_argument("--label-column", metavar="NAME", default="label", help="likewise, or none (default: label)")
    parser.add_argument("--device", default="auto", help="such as cpu or cuda (default: a GPU if there is one)")
    return parser


def main(arguments: list[str]) -> int:
    """Predict images; the exit status tells whether some were left out."""
    options = parser().parse_args(arguments[1:])
    _check(options)
    network = load_network(options.run)
    classes = network.classes if network.task == "classification" else ()
    if classes and options.top > len(classes):
        raise ValueError(
            f"Expected `--top` to be at most {len(classes)}, the number of classes, but got {options.top}."
        )
    labels = None if options.label_column == "none" else options.label_column
    items = ImageItems([Path(p) for p in options.paths], classes, options.image_column, labels)
    network.to(_device(options.device))
    skipped: list[tuple[str, str]] = []
    scores, write = Scores(classes), FORMATS[Path(options.out).suffix.lower() if options.out else ".csv"]
    with _opened(options.out) as out:
        written = 0
        for batch, inputs in _batches(network, items, options.batch_size, skipped):
            given = probabilities(network, inputs)
            pairs = zip(batch, outcomes(network, given), strict=True)
            rows = [row_of(one.name, found, network.classes, options.top, one.target) for one, found in pairs]
            out.write(write(rows, not written))
            written += len(rows)
            if classes:
                scores.count(given, [one.target for one in batch])
        if not written:
            reason = unreadable(skipped) if skipped else "the files have no rows"
            raise ValueError(f"Expected at least one image that can be read, but got none: {reason}.")
    if scores:
        print(scores.text(), file=sys.stdout if options.out else sys.stderr)
    if skipped:
        print(f"robustnas: {unreadable(skipped)}.", file=sys.stderr)
    return SKIPPED if skipped else 0


def _check(options: argparse.Namespace) -> None:
    for name, value in (("--batch-size", options.batch_size), ("--top", options.top)):
        if value < 1:
            raise CommandLineError(f"Expected `{name}` to be at least 1, but got {value}.")
    if options.out and Path(options.out).suffix.lower() not in FORMATS:
        raise CommandLineError(f"Expected `--out` to end in {' or '.join(FORMATS)}, but got {options.out}.")
    if not options.paths:
        raise CommandLineError("Expected at least one PATH, a file or a folder of images, but got none.")


def _device(name: str) -> torch.device:
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.zeros(1, device=device)
    except Exception as error:  # of another kind for each device that is missing
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ValueError(f"Expected `--device` to be one of this machine, but got {name!r}: {reason}") from error
    return device


@contextmanager
def _opened(path: str | None) -> Iterator[TextIO]:
    """Standard output, or a file that appears when it is complete."""
    with nullcontext() if path is None else open_atomically(path) as file:
        if file is None:
            yield sys.stdout
            return
        text = io.TextIOWrapper(file, encoding="utf-8", errors="backslashreplace", newline="")
        yield text
        text.flush()
        text.detach()  # the file is closed by whoever opened it


def _batches(
    network: TrainedNetwork, items: ImageItems, size: int, skipped: list[tuple[str, str]]
) -> Iterator[tuple[list[Item], Tensor]]:
    """Batches of images that can be read, with their inputs; what cannot is noted."""
    rest: Iterable[Item] = iter(items)
    console, count = Console(stderr=True), len(items)
    with ThreadPoolExecutor(min(8, usable_cores())) as pool:
        steps = range(-(-count // size))
        for _ in track(steps, f"Predicting {count} images", console=console, disable=not console.is_terminal):
            batch = list(islice(rest, size))
            kept, read = [], []
            for item, found in zip(batch, pool.map(lambda item: _read(network, item), batch), strict=True):
                if isinstance(found, str):
                    skipped.append((item.name, found))
                else:
                    kept.append(item)
                    read.append(found)
            if kept:
                yield kept, network.preprocess.normalise(torch.stack(read))


def _read(network: TrainedNetwork, item: Item) -> Tensor | str:
    return item.found if item.content is None else network.preprocess.read(item.content)
