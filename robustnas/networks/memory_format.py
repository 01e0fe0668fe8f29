"""Memory formats: gradients are laid out as the images they belong to."""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor


def layout_of(images: Tensor) -> torch.memory_format:
    """Memory format of images."""
    return torch.channels_last if images.is_contiguous(memory_format=torch.channels_last) else torch.contiguous_format


def lay_gradient_out(images: Tensor) -> Tensor:
    """Give the gradient of images their memory format: where it differs, BatchNorm on CPUs takes ten times as long."""
    if images.requires_grad and not torch.compiler.is_compiling():  # torch 2.13 loses what follows several hooks
        images.register_hook(partial(_laid_out, layout_of(images)))
    return images


def _laid_out(layout: torch.memory_format, gradient: Tensor | None) -> Tensor | None:
    return None if gradient is None else gradient.contiguous(memory_format=layout)  # none if all that follows is probed
