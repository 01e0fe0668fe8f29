"""Looking at a search without touching it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from robustnas.training.search import SearchModule


@contextmanager
def preserve_state(search: SearchModule) -> Iterator[None]:
    """Put back, after a measure, everything of a search that the measure could have changed.

    Those are the modes of its modules, its buffers, the gradients its parameters hold, and the random state of the
    process. Parameters are not copied: a measure that changes one is a bug that the tests look for.

    Yields:
        Nothing.
    """
    modes = [(module, module.training) for module in search.modules()]
    buffers = [(buffer, buffer.clone()) for buffer in search.supernet.buffers()]
    slopes = [(parameter, parameter.grad) for parameter in search.parameters()]
    try:
        with torch.random.fork_rng([search.device] if search.device.type == "cuda" else []):
            yield
    finally:
        for module, training in modes:
            module.training = training
        for parameter, slope in slopes:
            parameter.grad = slope
        with torch.no_grad():
            for buffer, kept in buffers:
                buffer.copy_(kept)
