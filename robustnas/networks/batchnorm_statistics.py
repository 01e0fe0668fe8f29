"""Running statistics of BatchNorm: when they move, and when they must not."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TypeVar

import torch
from torch import nn

from robustnas.networks.normalisation import BundleNorm

Input = TypeVar("Input")


@contextmanager
def frozen_batchnorm_statistics(network: nn.Module) -> Iterator[None]:
    """Keep running statistics as they are; in training, normalisation is still by the statistics of the batch."""
    bundled = [m for m in network.modules() if isinstance(m, BundleNorm) and m.tracking]
    plain = [m for m in network.modules() if isinstance(m, nn.BatchNorm2d) and m.track_running_stats and m.training]
    for norm in bundled:
        norm.tracking = False
    for batch_norm in plain:
        batch_norm.track_running_stats = False
    try:
        yield
    finally:
        for norm in bundled:
            norm.tracking = True
        for batch_norm in plain:
            batch_norm.track_running_stats = True


@contextmanager
def evaluating(network: nn.Module) -> Iterator[None]:
    """Put a network in evaluation for a while, and then every module back in the mode it was in."""
    training = [module for module in network.modules() if module.training]
    for module in training:
        module.training = False
    try:
        yield
    finally:
        for module in training:
            module.training = True


@torch.no_grad()
def recalibrate(network: nn.Module, run: Callable[[Input], object], inputs: Sequence[Input]) -> None:
    """Set running statistics to the mean of those of some batches, at least one, each counting the same."""
    training = [(module, module.training) for module in network.modules()]
    tracking = [m for m in network.modules() if isinstance(m, (BundleNorm, nn.BatchNorm2d))]
    momenta = [norm.momentum for norm in tracking]
    network.train()
    try:
        for count, batch in enumerate(inputs, start=1):
            for norm in tracking:
                norm.momentum = 1 / count
            run(batch)
    finally:
        for norm, momentum in zip(tracking, momenta, strict=True):
            norm.momentum = momentum
        for module, mode in training:
            module.training = mode
