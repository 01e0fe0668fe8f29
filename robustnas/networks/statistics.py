"""Running statistics of BatchNorm: when they move, and when they must not."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn

from robustnas.networks.normalisation import BundleNorm


@contextmanager
def still_statistics(network: nn.Module) -> Iterator[None]:
    """Keep running statistics as they are, whatever passes through the network.

    Normalisation itself does not change: in training it uses the statistics of the batch.

    Args:
        network: The network.

    Yields:
        Nothing.
    """
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
    """Put a network in evaluation for a while, and then every module back in the mode it was in.

    Args:
        network: The network.

    Yields:
        Nothing.
    """
    training = [module for module in network.modules() if module.training]
    for module in training:
        module.training = False
    try:
        yield
    finally:
        for module in training:
            module.training = True
