"""Convert the files of NAS-Bench-201 and NATS-Bench to a table.

They hold the results of every training run of each architecture at every epoch. A table keeps the mean over runs after
the last epoch. CIFAR-10: accuracy on the test set after training on training and validation set, and on the validation
set after training on the training set only. CIFAR-100 and ImageNet16-120: accuracies on the benchmark's two halves of
the test set. Nothing in the files is executed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from robustnas.runtime.paths import expand
from robustnas.spaces import Genotype, NASBench201
from robustnas.tabular.pickles import read_checkpoint, read_pickle
from robustnas.tabular.table import Table

PACKED = ".pickle.pbz2"
EPOCHS = {"12": "12", "200": "200", "less": "12", "full": "200"}  # the names in NATS-Bench and NAS-Bench-201


COLUMNS = {  # to the benchmark's names of its training data and its evaluation data
    "cifar10_test": ("cifar10", "ori-test"),
    "cifar10_valid": ("cifar10-valid", "x-valid"),
    "cifar100_test": ("cifar100", "x-test"),
    "cifar100_valid": ("cifar100", "x-valid"),
    "imagenet16_120_test": ("ImageNet16-120", "x-test"),
    "imagenet16_120_valid": ("ImageNet16-120", "x-valid"),
}

Results = Mapping[str, Any]
Advance = Callable[[int, int], None]


def convert(path: str | Path, advance: Advance = lambda done, count: None) -> Table:
    """Convert NAS-Bench-201's ``.pth``, or NATS-Bench's ``.pickle.pbz2`` or folder; the folder needs least memory."""
    path = expand(path, "FILE")
    if path.is_dir():
        held, count = _folder(path)
    elif path.suffix == ".pth":
        held, count = _single_file(path, read_checkpoint(path))
    elif path.name.endswith(PACKED):
        held, count = _single_file(path, read_pickle(path))
    else:
        raise ValueError(
            f"Expected a file of NAS-Bench-201 (.pth) or NATS-Bench ({PACKED}), or the folder of the latter, or a "
            f"table (.csv, .tsv, also .gz, or .parquet), but got {path}."
        )
    genotypes, rows = [], []
    for done, results in enumerate(held, 1):
        try:
            architecture, row = _row(results)
            genotypes.append(Genotype.from_nasbench201(architecture).validate(NASBench201))
        except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
            reason = " ".join(str(error).split())
            raise ValueError(
                f"Expected {path} to hold the topology space of NAS-Bench-201 or NATS-Bench, but entry {done} is "
                f"not of it: {type(error).__name__}: {reason}"
            ) from error
        rows.append(row)
        advance(done, count)
    names = [f"{column}_{epochs}" for epochs in ("200", "12") for column in COLUMNS]
    columns = {name: np.array([row.get(name, np.nan) for row in rows], np.float32) for name in names}
    known = {name: column for name, column in columns.items() if np.isfinite(column).any()}
    if not known:
        raise ValueError(f"Expected {path} to hold accuracies after 12 or 200 epochs, but got none.")
    return Table.of(genotypes, known, str(path), NASBench201)


def _folder(path: Path) -> tuple[Iterator[Results], int]:
    files = sorted(file for file in path.glob(f"*{PACKED}") if file.name.removesuffix(PACKED).isdigit())
    if not files:
        raise ValueError(f"Expected {path} to be a folder of NATS-Bench with files like 000000{PACKED}, but got none.")
    return (read_pickle(file) for file in files), len(files)


def _single_file(path: Path, held: Any) -> tuple[Iterator[Results], int]:
    results = held.get("arch2infos") if isinstance(held, dict) else None
    if not isinstance(results, dict) or not results:
        got = list(held)[:5] if isinstance(held, dict) else type(held).__name__
        raise ValueError(f"Expected {path} to hold `arch2infos`, as the benchmark's file does, but got {got}.")
    return iter(results.values()), len(results)


def _row(results: Results) -> tuple[str, dict[str, float]]:
    """The architecture of an entry, and its accuracies by column."""
    row: dict[str, float] = {}
    texts = set()
    for length, trained in results.items():
        if str(length) not in EPOCHS:
            continue
        texts.add(trained["arch_str"])
        for column, (data, part) in COLUMNS.items():
            runs = [trained["all_results"][data, seed] for seed in trained["dataset_seed"].get(data, ())]
            found = [run["eval_acc1es"].get(f"{part}@{run['epochs'] - 1}") for run in runs]
            if accuracies := [float(accuracy) for accuracy in found if accuracy is not None]:
                row[f"{column}_{EPOCHS[str(length)]}"] = float(np.mean(accuracies))
    (text,) = texts
    return text, row
