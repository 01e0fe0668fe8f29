"""``robustnas landscape``: plot the validation loss around the α of a checkpoint."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np
import torch
from rich.console import Console
from torch import Tensor

from robustnas.cli.configuration import data_of, instance_of
from robustnas.cli.errors import Parser
from robustnas.curvature import Hessian, extremes
from robustnas.curvature.landscape import Landscape, orthonormal, over_plane, random_directions
from robustnas.data import Batch, ImageData, Probe
from robustnas.networks import Mixture
from robustnas.networks.batchnorm_statistics import frozen_batchnorm_statistics
from robustnas.networks.mixture import one_hots
from robustnas.plotting.cells import render
from robustnas.plotting.curves import landscape_figure
from robustnas.runs.record import Run, write_bytes, write_json
from robustnas.runtime.precision import full_precision
from robustnas.training import SearchModule, load

DIRECTIONS = ("random", "eigenvectors")


def parser() -> Parser:
    """The options of ``robustnas landscape``."""
    parser = Parser(
        prog="robustnas landscape",
        description="Plot the validation loss around the α of a checkpoint: over a plane, and along the line from the "
        "mixture to the genotype. A flat minimum survives discretisation; a sharp one does not.",
    )
    parser.add_path("checkpoint", metavar="CKPT", help="checkpoint of a search, or folder of its run")
    parser.add_argument(
        "--directions", choices=DIRECTIONS, default="random", help="directions that span the plane (default: random)"
    )
    parser.add_argument(
        "--radius", type=float, default=1.0, help="half the width of the plane, in units of α (default: 1)"
    )
    parser.add_argument("--steps", type=int, default=11, help="points along each axis, an odd number (default: 11)")
    parser.add_argument("--batches", type=int, default=2, help="batches to average the loss over (default: 2)")
    parser.add_argument("--seed", type=int, default=0, help="seed of random directions (default: 0)")
    parser.add_path("-o", "--out", help="output folder (default: the folder of the run)")
    return parser


def main(arguments: list[str]) -> None:
    """Measure and plot the landscape of a checkpoint."""
    options = parser().parse_args(arguments[1:])
    if options.batches < 1:
        raise ValueError(f"Expected `--batches` to be at least 1, but got {options.batches}.")
    search, data, folder = open_search(options.checkpoint)
    batches = Probe(data, torch.device("cpu")).batches("arch", options.batches)
    landscape = measure(search, batches, options.directions, options.radius, options.steps, options.seed)
    out = Path(options.out) if options.out else folder
    write_json(out / "landscape.json", landscape.to_json())
    figure = landscape_figure(landscape, f"{type(search).__name__} in {search.space.name}")
    for form in ("png", "svg"):
        write_bytes(out / f"landscape.{form}", render(figure, form))
    console, reach = Console(), f"largest change within radius {options.radius:g}"
    console.print(f"Loss at α: {landscape.centre:.4f}; {reach}: {landscape.rise:+.4f}")
    console.print(f"Loss at the genotype: {landscape.line[-1]:.4f} ({landscape.line[-1] - landscape.line[0]:+.4f})")
    console.print(f"Plot: {out / 'landscape.png'}", soft_wrap=True)


def open_search(checkpoint: str) -> tuple[SearchModule, ImageData, Path]:
    """The search of a checkpoint on the CPU, its data set up by the run's configuration, and the run's folder."""
    path = Path(checkpoint)
    path = Run(path).checkpoint if path.is_dir() else path
    search = load(path, SearchModule)
    data: ImageData = instance_of(ImageData, "data", data_of(path.parent))
    data.setup("fit")
    return search, data, path.parent


def measure(
    search: SearchModule, batches: list[Batch], directions: str, radius: float, steps: int, seed: int
) -> Landscape:
    """The landscape of the loss in training mode, along random directions or eigenvectors; α is restored at the end."""
    alphas = list(search.alphas.values())
    centre = torch.cat([alpha.detach().flatten() for alpha in alphas])
    search.train()
    with frozen_batchnorm_statistics(search.supernet), torch.random.fork_rng(), full_precision(search.device.type):
        axes = _axes(search, batches[0], directions, centre, seed)
        try:
            reach, plane = over_plane(partial(_loss_at, search, batches), centre, axes[0], axes[1], radius, steps)
        finally:
            _put(alphas, centre)
        share = np.linspace(0, 1, steps)
        line = np.array([_loss_between(search, batches, float(t)) for t in share])
    words = "random directions" if directions == "random" else "the top eigenvectors"
    return Landscape(reach, plane, words, share, line)


def _axes(search: SearchModule, batch: Batch, directions: str, centre: Tensor, seed: int) -> list[Tensor]:
    if directions == "random":
        return [axis.to(centre) for axis in random_directions(len(centre), seed)]
    weights = {name: weight.detach() for name, weight in search.supernet.named_parameters()}
    loss, _ = search.loss(batch, search.mixtures(search.context("arch")), weights)
    pairs, _ = extremes(Hessian(loss, list(search.alphas.values())), largest=2)
    return orthonormal([vector.to(centre) for vector in pairs.vectors.T])


@torch.no_grad()
def _loss_at(search: SearchModule, batches: list[Batch], point: Tensor) -> float:
    _put(list(search.alphas.values()), point)
    return _mean_loss(search, batches, search.mixtures(search.context("arch")))


@torch.no_grad()
def _loss_between(search: SearchModule, batches: list[Batch], share: float) -> float:
    mixed = search.mixtures(search.context("evaluation"))
    ends = one_hots(search.space, search.genotype(), next(iter(search.alphas.values())))
    between = {kind: _between(mixture, ends[kind].operations, share) for kind, mixture in mixed.items()}
    return _mean_loss(search, batches, between)


def _between(mixture: Mixture, end: Tensor, share: float) -> Mixture:
    """A mixture on the line to a discrete cell, in which all edges have weight one."""
    edges, offsets = mixture.edges, mixture.offsets
    return Mixture(  # edge weights apply to the bypassed channels too
        (1 - share) * mixture.operations + share * end,
        None if edges is None else (1 - share) * edges + share,
        offsets=None if offsets is None else (1 - share) * offsets,
        auxiliary=(1 - share) * mixture.auxiliary,
    )


def _mean_loss(search: SearchModule, batches: list[Batch], mixtures: dict[str, Mixture]) -> float:
    losses = [float(search.loss_of(search.supernet(b.images, mixtures), b.targets)) * len(b.targets) for b in batches]
    return sum(losses) / sum(len(batch.targets) for batch in batches)


@torch.no_grad()
def _put(alphas: list[Tensor], point: Tensor) -> None:
    for alpha, part in zip(alphas, point.split([alpha.numel() for alpha in alphas]), strict=True):
        alpha.copy_(part.view_as(alpha))
