"""How well the curvature on few samples follows that on many, over the epochs of a search, and what it costs.

At the scheduled epochs of a search on the digits λ_max is measured on 512 samples of the role arch, and on draws of
fewer, each the same in every epoch, as a diagnostic keeps its samples. Given are, for each size, the coefficient of
variation between draws, the mean over the value on 512 samples, the scatter over epochs of the logarithm of that ratio
within a draw, which is what a comparison of epochs suffers from, and the price in steps of the search.

Example:
    python benchmarks/curvature_series.py --json benchmarks/results/curvature_series_cpu.json
"""

from __future__ import annotations

import argparse
import math
import tempfile
import time
import warnings
from statistics import fmean, stdev
from typing import Any

import torch
from curvature_noise import measured
from measure import depth, parser, provenance, write
from pytorch_lightning import Callback, LightningModule, Trainer
from robustnas.diagnostics import preserve_state
from robustnas.diagnostics.schedule import is_scheduled
from robustnas.variants import DARTS

from robustnas.data import Digits, Probe

MANY, SIZES = 512, (16, 32, 64, 128, 256)


class Series(Callback):
    """Values ``[draw][epoch]`` by size, and seconds of measuring by size."""

    def __init__(self, draws: int) -> None:
        self.draws = draws
        self.values: dict[tuple[int, int], list[float]] = {}
        self.seconds: dict[int, list[float]] = {}

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if not is_scheduled(trainer.current_epoch, trainer.max_epochs) or not isinstance(pl_module, DARTS):
            return
        probe = Probe(trainer.datamodule, pl_module.device)  # type: ignore[attr-defined]
        pl_module.train()
        for size in (MANY, *SIZES):
            for draw in range(1 if size == MANY else self.draws):
                start = time.process_time()
                with preserve_state(pl_module):
                    value = measured(pl_module, probe, size, draw).value
                self.values.setdefault((size, draw), []).append(value)
                self.seconds.setdefault(size, []).append(time.process_time() - start)


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """What each size gives."""
    series, numbers = Series(options.repeats), {"channels": options.channels, "lr": 0.05, "arch_lr": 0.02}
    search = DARTS(space=options.space, image_channels=1, seed=0, **numbers, **depth(options))
    start = time.process_time()
    with tempfile.TemporaryDirectory() as folder:
        Trainer(
            accelerator="cpu", max_epochs=options.epochs, default_root_dir=folder, logger=False, callbacks=[series],
            enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False,
            use_distributed_sampler=False,
        ).fit(search, Digits(batch_size=options.batch))  # fmt: skip
    spent = sum(sum(seconds) for seconds in series.seconds.values())
    step = (time.process_time() - start - spent) / search.global_step
    many, sizes = series.values[MANY, 0], {}
    for size in SIZES:
        draws = [series.values[size, draw] for draw in range(options.repeats)]
        epochs = list(zip(*draws, strict=True))
        logs = [[math.log(value / whole) for value, whole in zip(draw, many, strict=True)] for draw in draws]
        sizes[size] = {
            "coefficient_of_variation": fmean(stdev(values) / fmean(values) for values in epochs),
            "mean_over_many": fmean(fmean(values) / whole for values, whole in zip(epochs, many, strict=True)),
            "scatter_over_epochs": fmean(stdev(values) for values in logs),
            "steps": fmean(series.seconds[size]) / step,
        }
        print(size, sizes[size])
    return {"many": many, "sizes": sizes, "step": step, **provenance(options)}


def parse() -> argparse.Namespace:
    """The arguments of the command."""
    arguments = parser(__doc__, "the search")
    arguments.set_defaults(space="NASBench201", channels=4, layers=1, batch=64, image_size=8, repeats=3)
    arguments.add_argument("--epochs", type=int, default=16, help="epochs of the search")
    return arguments.parse_args()


def main() -> None:
    """Measure, print and write."""
    options = parse()
    torch.set_num_threads(options.threads)
    warnings.filterwarnings("ignore")
    write(measure(options), options.json)


if __name__ == "__main__":
    main()
