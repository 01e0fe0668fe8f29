"""How much the largest eigenvalue of the Hessian in α depends on the samples it is measured on.

A search on the digits is trained for some epochs. At its end λ_max is measured as the stopping rule measures it, on
draws of 16, 64 and 256 samples of the role arch, and once on the whole role. Given are, over the draws, the coefficient
of variation, corrected for drawing from a finite role, the mean over the value of the whole role, the median of the
standard errors that the jackknife over chunks gives (relative; none with one chunk), and the products.

Example:
    python benchmarks/curvature_noise.py --json benchmarks/results/curvature_noise_cpu.json
"""

from __future__ import annotations

import argparse
import math
import statistics
import tempfile
import warnings
from typing import Any

import torch
from measure import depth, parser, provenance, write
from pytorch_lightning import Trainer
from robustnas.variants import DARTS

from robustnas.data import Digits, Probe
from robustnas.networks.batchnorm_statistics import frozen_batchnorm_statistics
from robustnas.training.curvature import CHUNK, Measured, largest, probe_hessian

SIZES = (16, 64, 256)


def trained(options: argparse.Namespace) -> tuple[DARTS, Digits]:
    """A search after its epochs, and its data."""
    search = DARTS(
        space=options.space,
        channels=options.channels,
        image_channels=1,
        seed=options.seed,
        lr=0.1,
        arch_lr=0.01,
        **depth(options),
    )
    data = Digits(batch_size=options.batch)
    with tempfile.TemporaryDirectory() as folder:
        Trainer(
            accelerator="cpu", max_epochs=options.epochs, default_root_dir=folder, logger=False,
            enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False,
            use_distributed_sampler=False,
        ).fit(search, data)  # fmt: skip
    search.train()
    return search, data


def measured(search: DARTS, probe: Probe, samples: int, seed: int) -> Measured:
    """One measurement on a draw."""
    with frozen_batchnorm_statistics(search.supernet):
        return largest(probe_hessian(search, probe.drawn("arch", samples, CHUNK, seed), shared=False))


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """What the draws of each size give."""
    search, data = trained(options)
    probe = Probe(data, torch.device("cpu"))
    held = len(data.split.indices["arch"])
    whole = measured(search, probe, held, 0)
    print(f"{held} samples: {whole.value:.4g}, {whole.products} products of {whole.chunks} chunks")
    sizes = {}
    for size in SIZES:
        found = [measured(search, probe, size, seed) for seed in range(options.repeats)]
        values = [one.value for one in found]
        spread = statistics.stdev(values) / statistics.fmean(values) / math.sqrt(1 - size / held)
        errors = [one.deviation / one.value for one in found if math.isfinite(one.deviation)]
        sizes[size] = {
            "coefficient_of_variation": spread,
            "mean_over_whole": statistics.fmean(values) / whole.value,
            "median_standard_error": statistics.median(errors) if errors else None,
            "median_products": statistics.median(one.products for one in found),
            "largest_relative_bound": max(one.upper / one.value - 1 for one in found),
            "values": values,
        }
        print(size, {name: value for name, value in sizes[size].items() if name != "values"})
    return {"sizes": sizes, "whole": whole._asdict(), **provenance(options)}


def parse() -> argparse.Namespace:
    """The arguments of the command."""
    arguments = parser(__doc__, "the search")
    arguments.set_defaults(space="NASBench201", channels=4, layers=1, batch=64, image_size=8, repeats=12)
    arguments.add_argument("--epochs", type=int, default=6, help="epochs of the search")
    arguments.add_argument("--seed", type=int, default=0, help="seed of the search")
    return arguments.parse_args()


def main() -> None:
    """Measure, print and write."""
    options = parse()
    torch.set_num_threads(options.threads)
    warnings.filterwarnings("ignore")
    write(measure(options), options.json)


if __name__ == "__main__":
    main()
