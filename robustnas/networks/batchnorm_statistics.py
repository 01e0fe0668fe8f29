"""Running statistics of BatchNorm: when they move, and when they must not."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

import torch
from torch import nn

from robustnas.networks.normalisation import BundleNorm

Input = TypeVar("Input")


@contextmanager
def _with_attribute(modules: Sequence[nn.Module], name: str, value: Any) -> Iterator[None]:
    """Set an attribute of modules for a while, and then what each had before."""
    before = [getattr(module, name) for module in modules]
    for module in modules:
        setattr(module, name, value)
    try:
        yield
    finally:
        for module, held in zip(modules, before, strict=True):
            setattr(module, name, held)


@contextmanager
def frozen_batchnorm_statistics(network: nn.Module, derived_twice: bool = True) -> Iterator[None]:
    """Keep running statistics as they are; in training, normalisation is still by the statistics of the batch.

    Args:
        network: The network whose statistics stay.
        derived_twice: Whether second derivatives are made cheap, which costs ordinary passes a little.
    """
    bundled = [m for m in network.modules() if isinstance(m, BundleNorm)]
    plain = [m for m in network.modules() if isinstance(m, nn.BatchNorm2d) and m.training]
    with (
        _with_attribute(bundled, "tracking", False),
        _with_attribute(bundled, "derived_twice", derived_twice),
        _with_attribute(plain, "track_running_stats", False),
    ):
        yield


@contextmanager
def evaluating(network: nn.Module) -> Iterator[None]:
    """Put a network in evaluation for a while, and then every module back in the mode it was in."""
    with _with_attribute(list(network.modules()), "training", False):
        yield


@torch.no_grad()
def recalibrate(network: nn.Module, run: Callable[[Input], object], inputs: Sequence[Input]) -> None:
    """Set running statistics to the mean of those of some batches, at least one, each counting the same."""
    tracking = [m for m in network.modules() if isinstance(m, (BundleNorm, nn.BatchNorm2d))]
    with evaluating(network), _with_attribute(tracking, "momentum", 1.0):
        network.train()
        for count, batch in enumerate(inputs, start=1):
            for norm in tracking:
                norm.momentum = 1 / count
            run(batch)
