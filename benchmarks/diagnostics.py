"""What the default diagnostics cost, as a share of the search that they watch.

A search on the digits, 10 steps an epoch with batches of 64, is run with the diagnostics that every search has. The
cost is what their budget counts: wall time inside the measures, pictures and curves included, over that of the run.
"""

from __future__ import annotations

import argparse
import tempfile
import warnings
from pathlib import Path
from typing import Any

import torch
from measure import depth, parser, provenance, write
from pytorch_lightning import Trainer
from pytorch_lightning.loggers import TensorBoardLogger

from robustnas import diagnostics, variants
from robustnas.data import Digits


def watch(options: argparse.Namespace, folder: Path) -> Any:
    """A search with the default diagnostics."""
    kind: Any = getattr(variants, options.variant)
    numbers = {"channels": options.channels, "lr": options.lr, "arch_lr": options.arch_lr}
    search = kind(space=options.space, image_channels=1, seed=0, **numbers, **depth(options))
    measures = [one for one in diagnostics.default_diagnostics() if one.name != "Curvature"]
    measures.append(diagnostics.Curvature(samples=options.samples))
    watching = diagnostics.Diagnostics(measures, budget=options.budget)
    Trainer(
        accelerator=options.device.replace("cuda", "gpu"),
        precision={"fp32": "32-true", "bf16": "bf16-mixed"}[options.precision],
        max_epochs=options.epochs,
        default_root_dir=folder,
        logger=TensorBoardLogger(folder, "", "", default_hp_metric=False),
        callbacks=[watching],
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        use_distributed_sampler=False,
    ).fit(search, Digits(batch_size=options.batch))
    return watching


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """Share of the run, for each repetition, and the seconds of each measure."""
    runs = []
    for _ in range(options.repeats):
        with tempfile.TemporaryDirectory() as folder:
            budget = watch(options, Path(folder)).budget
        runs.append(
            {
                "share": budget.spent / budget.elapsed,
                "seconds": budget.elapsed,
                "costs": budget.costs,
                "left_out": budget.left_out,
            }
        )
        print(budget.summary(verbose=True))
    return {"largest_share": max(run["share"] for run in runs), "runs": runs, **provenance(options)}


def parse() -> argparse.Namespace:
    """The arguments of the command; by default a small search in the space of DARTS."""
    arguments = parser(__doc__, "the search")
    arguments.set_defaults(channels=4, layers=3, batch=64, image_size=8, repeats=1)  # the digits are of this size
    arguments.add_argument("--variant", default="DARTS", choices=sorted(variants.__all__), help="the method")
    arguments.add_argument("--epochs", type=int, default=10, help="epochs of the search")
    arguments.add_argument("--lr", type=float, default=0.1)
    arguments.add_argument("--arch-lr", type=float, default=0.01)
    arguments.add_argument("--budget", type=float, default=0.03, help="share of the time that may be taken")
    arguments.add_argument("--samples", type=int, help="of the curvature (default: by the length of the search)")
    return arguments.parse_args()


def main() -> None:
    """Measure, print and write."""
    options = parse()
    torch.set_num_threads(options.threads)
    warnings.filterwarnings("ignore", module="pytorch_lightning")
    write(measure(options), options.json)


if __name__ == "__main__":
    main()
