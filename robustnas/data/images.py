"""Images and targets in memory, checked once."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple, get_args

import torch
from torch import Tensor

Place = tuple[int, int]  # a part and the index of an image in it
PROBED = 64  # values of an image that are compared first; all are compared only if these agree
Task = Literal["classification", "multilabel", "regression"]


@dataclass(frozen=True, eq=False)
class Images:
    """Images and their targets.

    Args:
        pixels: ``uint8``, ``[samples, channels, height, width]``.
        targets: ``int64`` class indices ``[samples]`` for classification; floating point otherwise, ``[samples,
            labels]`` with values in [0, 1] for multilabel, ``[samples]`` or ``[samples, values]`` for regression.
        task: Task of the targets.
        classes: Names of the classes, labels or predicted values, one for each network output.
        reading: What was skipped or changed while reading, as plain JSON values for the manifest.
        validation: How many of the last images are the data set's own validation part.

    Raises:
        ValueError: If there are no images or fewer than two classes, if shapes or types disagree, or if a target is out
            of range or not finite.
    """

    pixels: Tensor
    targets: Tensor
    task: Task
    classes: tuple[str, ...]
    reading: Mapping[str, Any] = field(default_factory=dict)
    validation: int = 0

    def __post_init__(self) -> None:
        if self.task not in get_args(Task):
            raise ValueError(f"Expected `task` to be one of {list(get_args(Task))}, but got {self.task!r}.")
        shape = list(self.pixels.shape)
        if self.pixels.dtype != torch.uint8 or len(shape) != 4:
            raise ValueError(
                "Expected `pixels` to be uint8 of shape [samples, channels, height, width], "
                f"but got {self.pixels.dtype} of shape {shape}."
            )
        if not self.pixels.numel():
            raise ValueError(f"Expected `pixels` to hold at least one image, but got the shape {shape}.")
        if len(self.targets) != len(self.pixels):
            raise ValueError(
                f"Expected `targets` to have one entry for each of {len(self.pixels)} images, "
                f"but got {len(self.targets)}."
            )
        if self.task == "classification":
            _check_labels(self.targets, self.classes)
        else:
            _check_values(self.targets, self.task, self.classes)

    def __len__(self) -> int:
        return len(self.pixels)

    @property
    def shape(self) -> tuple[int, int, int]:
        """Channels, height and width."""
        channels, height, width = self.pixels.shape[1:]
        return channels, height, width

    def select(self, indices: Tensor) -> Images:
        """Copy the images at ``indices`` (``int64``, at least one), in that order."""
        return Images(self.pixels[indices], self.targets[indices], self.task, self.classes)

    def class_counts(self) -> dict[str, int]:
        """Samples of each class, or positive samples of each label; empty for regression."""
        return count_classes(self.targets, self.task, self.classes)

    def content_hash(self) -> str:
        """SHA-256 of pixels and targets with their shapes, in hexadecimal."""
        digest = hashlib.sha256()
        for tensor in (self.pixels, self.targets):
            digest.update(f"{tensor.dtype}{tuple(tensor.shape)}".encode())
            digest.update(tensor.contiguous().numpy().data)
        return digest.hexdigest()


def count_classes(targets: Tensor, task: Task, classes: tuple[str, ...]) -> dict[str, int]:
    """Samples of each class, or positive samples of each label, by name; empty for regression."""
    if task == "regression":
        return {}
    counts = targets.bincount(minlength=len(classes)) if task == "classification" else (targets > 0.5).sum(0)
    return dict(zip(classes, counts.tolist(), strict=True))


def pixel_statistics(pixels: Tensor, indices: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and deviation of each channel of some samples, as shares of 255; a constant channel has deviation 1."""
    channels = pixels.shape[1]
    # Exact counts of the levels do not depend on the order of summation.
    counts = torch.zeros(channels, 256, dtype=torch.float64)
    for chunk in indices.split(2048):
        part = pixels[chunk]
        for channel in range(channels):
            counts[channel] += part[:, channel].flatten().bincount(minlength=256)
    levels = torch.arange(256, dtype=torch.float64) / 255
    shares = counts / counts.sum(1, keepdim=True)
    mean = shares @ levels
    std = (shares * (levels - mean[:, None]).square()).sum(1).sqrt()
    return mean, torch.where(std > 0, std, 1.0)


class Duplicates(NamedTuple):
    """Images beyond the first of each kind, distinct images in more than one role, and those of them in test."""

    copies: int
    across_roles: int
    with_test: int


def count_duplicates(parts: Sequence[tuple[Tensor, Sequence[str | None]]]) -> Duplicates:
    """Count images with equal pixels, from those of each part and their roles; without a role only as copies."""
    groups: dict[bytes, list[Place]] = defaultdict(list)
    for part, (pixels, _) in enumerate(parts):
        flat = pixels.flatten(1)
        probed = flat[:, torch.linspace(0, flat.shape[1] - 1, min(PROBED, flat.shape[1])).long()].contiguous().numpy()
        for index, row in enumerate(probed):
            groups[row.tobytes()].append((part, index))
    copies = across = with_test = 0
    for same in _same(parts, groups.values()):
        roles = {role for part, index in same if (role := parts[part][1][index]) is not None}
        copies += len(same) - 1
        across += len(roles) > 1
        with_test += len(roles) > 1 and "test" in roles
    return Duplicates(copies, across, with_test)


def _same(
    parts: Sequence[tuple[Tensor, Sequence[str | None]]], candidates: Iterable[list[Place]]
) -> Iterator[list[Place]]:
    """Groups of at least two images that agree in all pixels, from groups that agree in some."""
    for group in candidates:
        if len(group) < 2:
            continue
        equal: dict[bytes, list[Place]] = defaultdict(list)
        for part, index in group:
            equal[hashlib.sha256(parts[part][0][index].numpy().tobytes()).digest()].append((part, index))
        yield from (same for same in equal.values() if len(same) > 1)


def _check_labels(targets: Tensor, classes: tuple[str, ...]) -> None:
    if len(classes) < 2:
        raise ValueError(f"Expected `classes` to be at least two for classification, but got {list(classes)}.")
    if targets.dtype != torch.int64 or targets.ndim != 1:
        raise ValueError(
            "Expected `targets` to be int64 of shape [samples] for classification, "
            f"but got {targets.dtype} of shape {list(targets.shape)}."
        )
    low, high = int(targets.min()), int(targets.max())
    if low < 0 or high >= len(classes):
        raise ValueError(
            f"Expected `targets` to be between 0 and {len(classes) - 1} for {len(classes)} classes, "
            f"but got labels from {low} to {high}."
        )


def _check_values(targets: Tensor, task: Task, classes: tuple[str, ...]) -> None:
    wanted = (2,) if task == "multilabel" else (1, 2)
    if not targets.is_floating_point() or targets.ndim not in wanted:
        raise ValueError(
            f"Expected `targets` to be floating point of shape [samples, outputs] for {task}, "
            f"but got {targets.dtype} of shape {list(targets.shape)}."
        )
    outputs = targets.shape[1] if targets.ndim == 2 else 1
    if outputs != len(classes) or not classes:
        raise ValueError(f"Expected `classes` to name each of {outputs} outputs, but got {list(classes)}.")
    bad = ~targets.isfinite() if task == "regression" else ~((targets >= 0) & (targets <= 1))
    if bad.any():
        row = int(bad.reshape(len(bad), -1).any(1).nonzero()[0])
        kind = "finite" if task == "regression" else "between 0 and 1"
        raise ValueError(f"Expected `targets` to be {kind}, but got {targets[row].tolist()} for sample {row}.")
