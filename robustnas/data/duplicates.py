"""Detection of images with equal pixels."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

Place = tuple[int, int]  # a part and the index of an image in it
PROBED = 64  # values of an image that are compared first; all are compared only if these agree


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
