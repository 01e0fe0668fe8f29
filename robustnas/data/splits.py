"""Four disjoint roles for the samples of a data set: weights, architecture, selection and test."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor

from robustnas.data.batch import derived_seed

Role = Literal["weights", "arch", "selection", "test"]
ROLES: tuple[Role, ...] = ("weights", "arch", "selection", "test")


def split_roles(
    count: int,
    fractions: tuple[float, float, float],
    seed: int,
    labels: Tensor | None = None,
    test_fraction: float = 0.0,
) -> dict[Role, Tensor]:
    """Give every sample at most one role.

    The test role is drawn first, from ``test_fraction`` and ``seed`` alone: other ``fractions`` never move a sample
    into or out of the test set. With ``labels`` each class is shared out in the same proportions, to within a few
    samples. The global random state is neither read nor changed.

    Args:
        count: Number of samples.
        fractions: Shares of weights, arch and selection in what is not test. They may sum to less than one; the rest
            of the samples then has no role.
        seed: Number from which the split is drawn.
        labels: Class of each sample, ``[count]``, to stratify by; ``None`` splits at random.
        test_fraction: Share of all samples that becomes the test role, 0 for none.

    Returns:
        For every role the indices of its samples, ``int64``, ascending.

    Raises:
        ValueError: If a fraction is out of range, or a role with a fraction above zero would be empty.
    """
    check_fractions(fractions, test_fraction)
    unused = 1.0 - sum(fractions)
    shares = (*fractions, unused if unused > 1e-9 else 0.0)
    test, rest = _share_out(count, (test_fraction, 1.0 - test_fraction), derived_seed(seed, "test"), labels)
    inner = _share_out(len(rest), shares, derived_seed(seed, "roles"), None if labels is None else labels[rest])
    roles: dict[Role, Tensor] = {"weights": rest[inner[0]], "arch": rest[inner[1]], "selection": rest[inner[2]]}
    roles["test"] = test
    _check_nonempty(roles, (*fractions, test_fraction), count)
    return roles


def index_hash(indices: Tensor) -> str:
    """SHA-256 of the sorted indices written as little-endian ``int64``, in hexadecimal."""
    return hashlib.sha256(indices.sort().values.numpy().astype("<i8").tobytes()).hexdigest()


def check_fractions(fractions: tuple[float, float, float], test_fraction: float = 0.0) -> None:
    """Refuse shares that cannot be.

    Args:
        fractions: Shares of weights, arch and selection in what is not test.
        test_fraction: Share of all samples that becomes the role test.

    Raises:
        ValueError: If one is out of range.
    """
    if len(fractions) != 3 or not all(0 <= share <= 1 for share in fractions) or sum(fractions) > 1 + 1e-9:
        raise ValueError(
            "Expected `fractions` to be shares of weights, arch and selection that sum to at most one, "
            f"but got {tuple(fractions)}."
        )
    if not fractions[0]:
        raise ValueError(f"Expected `fractions` to give the role 'weights' a share above zero, but got {fractions}.")
    if not 0 <= test_fraction < 1:
        raise ValueError(f"Expected `test_fraction` to be at least 0 and below 1, but got {test_fraction}.")


def _check_nonempty(roles: dict[Role, Tensor], shares: Sequence[float], count: int) -> None:
    for role, share in zip(ROLES, shares, strict=True):
        if share > 0 and not len(roles[role]):
            name = "test_fraction" if role == "test" else "fractions"
            raise ValueError(
                f"Expected `{name}` to give the role {role!r} at least one of {count} samples, but got {share}."
            )


def _share_out(count: int, shares: Sequence[float], seed: int, labels: Tensor | None) -> list[Tensor]:
    order = torch.randperm(count, generator=torch.Generator().manual_seed(seed))
    sizes = [count]
    if labels is not None:
        order = order[labels[order].argsort(stable=True)]  # class by class, shuffled inside a class
        sizes = labels.bincount().tolist()
    owed = [0.0] * len(shares)
    pieces: list[tuple[Tensor, ...]] = []
    for group in order.split(sizes):
        counts, owed = _counts(len(group), shares, owed)
        pieces.append(group.split(counts))
    return [torch.cat(part).sort().values for part in zip(*pieces, strict=True)]


def _counts(size: int, shares: Sequence[float], owed: Sequence[float]) -> tuple[list[int], list[float]]:
    """Whole numbers near ``shares * size``; what rounding took from a share is owed to it in the next class."""
    wanted = [share * size + debt for share, debt in zip(shares, owed, strict=True)]
    counts = [math.floor(share * size) for share in shares]
    while sum(counts) < size:
        most = max((i for i, share in enumerate(shares) if share), key=lambda i: wanted[i] - counts[i])
        counts[most] += 1
    return counts, [want - got for want, got in zip(wanted, counts, strict=True)]
