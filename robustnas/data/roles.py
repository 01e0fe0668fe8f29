"""The four disjoint roles of the samples of a data set: weights, architecture, selection and test."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import torch
from torch import Tensor

from robustnas.data.batch import derived_seed
from robustnas.data.images import Duplicates, Images, count_classes, count_duplicates, pixel_statistics
from robustnas.data.parts import check_alike

Role = Literal["weights", "arch", "selection", "test"]
ROLES: tuple[Role, ...] = ("weights", "arch", "selection", "test")


class SplitImages:
    """Images and the four disjoint roles of their samples.

    A validation part of ``train`` becomes the role selection; weights and arch then share the rest in proportion to
    their fractions. A test part becomes the role test; otherwise that role is drawn from ``train``, too.
    """

    def __init__(
        self, train: Images, test: Images | None, fractions: tuple[float, float, float], test_fraction: float, seed: int
    ) -> None:
        if train.task == "classification" and len(train.targets.unique()) < 2:
            name = train.classes[int(train.targets[0])]
            raise ValueError(f"Expected images of at least two classes, but got {len(train)} of class {name!r} alone.")
        if test is not None:
            check_alike(train, test, "test")
        self.train = train
        self.test = test
        count = len(train) - train.validation
        labels = train.targets[:count] if train.task == "classification" else None
        shares = fractions
        if train.validation:
            check_fractions(fractions)
            scale = 1 + fractions[2] / (fractions[0] + fractions[1])
            shares = fractions[0] * scale, fractions[1] * scale, 0.0
        self.indices = split_roles(count, shares, seed, labels, test_fraction if test is None else 0.0)
        self.given: dict[Role, int] = {}  # roles that are parts of the data set, and their sizes
        if train.validation:
            self.indices["selection"] = torch.arange(count, len(train))
            self.given["selection"] = train.validation
        if test is not None:
            self.indices["test"] = torch.arange(len(test))
            self.given["test"] = len(test)
        self.seed = seed

    def part(self, role: Role) -> Images:
        """The part that the indices of a role refer to."""
        return self.test if role == "test" and self.test is not None else self.train

    def union(self, *roles: Role) -> Tensor:
        """Ascending indices (``int64``) of the samples with one of ``roles``; ``test`` only by itself."""
        if not roles or not set(roles) <= set(ROLES) or ("test" in roles and set(roles) != {"test"}):
            raise ValueError(f"Expected roles among {list(ROLES[:3])}, or 'test' alone, but got {list(roles)}.")
        return torch.cat([self.indices[role] for role in dict.fromkeys(roles)]).sort().values

    def select(self, role: Role) -> Images:
        """Copy the samples of a role, in the order of the data set."""
        indices = self.union(role)
        if not len(indices):
            raise ValueError(f"Expected the role {role!r} to have samples, but got none: its fraction is 0.")
        return self.part(role).select(indices)

    def statistics(self) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """Mean and standard deviation of each channel over the roles weights and arch, divided by 255."""
        mean, std = pixel_statistics(self.train.pixels, self.union("weights", "arch"))
        return tuple(mean.tolist()), tuple(std.tolist())

    def hashes(self) -> dict[str, str]:
        """Hash of each role's indices."""
        return {role: index_hash(indices) for role, indices in self.indices.items()}

    def class_counts(self) -> dict[Role, dict[str, int]]:
        """Samples of each class, or positive samples of each label, in every role that is not empty."""
        return {
            role: count_classes(part.targets[indices], part.task, part.classes)
            for role, indices in self.indices.items()
            if len(indices)
            for part in [self.part(role)]
        }

    def duplicates(self) -> Duplicates:
        """Counts of images with equal pixels."""
        parts: list[tuple[Tensor, list[str | None]]] = []
        for images in [part for part in (self.train, self.test) if part is not None]:
            roles: list[str | None] = [None] * len(images)
            for role, indices in self.indices.items():
                if self.part(role) is images:
                    for index in indices.tolist():
                        roles[index] = role
            parts.append((images.pixels, roles))
        return count_duplicates(parts)

    def reading(self) -> dict[str, dict[str, Any]]:
        """What was skipped or changed while reading, for each part that has something."""
        train = dict(self.train.reading)
        parts = {
            "training": train,
            "validation": train.pop("validation", {}),
            "test": {} if self.test is None else dict(self.test.reading),
        }
        return {part: reading for part, reading in parts.items() if reading}

    def describe(self) -> dict[str, Any]:
        """Sizes, hashes and classes of the roles, and hashes and remarks of the parts, as plain JSON values."""
        hashes, counts = self.hashes(), self.class_counts()
        roles = {
            role: {"size": len(indices), "sha256": hashes[role], "class_counts": counts.get(role, {})}
            for role, indices in self.indices.items()
        }
        return {
            "task": self.train.task,
            "classes": list(self.train.classes),
            "image_shape": list(self.train.shape),
            "split_seed": self.seed,
            "given_roles": list(self.given),
            "roles": roles,
            "reading": self.reading(),
            "duplicates": self.duplicates()._asdict(),
            "train_sha256": self.train.content_hash(),
            "test_sha256": None if self.test is None else self.test.content_hash(),
        }


def check_roles(held: Mapping[str, str], found: Mapping[str, str]) -> None:
    """Refuse roles (hashes ``found``) with other samples than those of a checkpoint (hashes ``held``)."""
    if changed := [role for role, value in found.items() if held.get(role) != value]:
        raise ValueError(
            f"Expected the roles to be those of the checkpoint, but got other samples for {changed}: resume with "
            "the same data, `split_seed`, `fractions` and `test_fraction`."
        )


def split_roles(
    count: int,
    fractions: tuple[float, float, float],
    seed: int,
    labels: Tensor | None = None,
    test_fraction: float = 0.0,
) -> dict[Role, Tensor]:
    """Ascending indices of each role, stratified by ``labels``; of the samples only those within the shares get one."""
    check_fractions(fractions, test_fraction)
    unused = 1.0 - sum(fractions)
    shares = (*fractions, unused if unused > 1e-9 else 0.0)
    # Drawn first, from its own share and the seed: other fractions never move a sample into or out of the test set.
    test, rest = _share_out(count, (test_fraction, 1.0 - test_fraction), derived_seed(seed, "test"), labels)
    inner = _share_out(len(rest), shares, derived_seed(seed, "roles"), None if labels is None else labels[rest])
    roles: dict[Role, Tensor] = {"weights": rest[inner[0]], "arch": rest[inner[1]], "selection": rest[inner[2]]}
    roles["test"] = test
    for role, share in zip(ROLES, (*fractions, test_fraction), strict=True):
        if share > 0 and not len(roles[role]):
            name = "test_fraction" if role == "test" else "fractions"
            raise ValueError(
                f"Expected `{name}` to give the role {role!r} at least one of {count} samples, but got {share}."
            )
    return roles


def index_hash(indices: Tensor) -> str:
    """SHA-256 of the sorted indices written as little-endian ``int64``, in hexadecimal."""
    return hashlib.sha256(indices.sort().values.numpy().astype("<i8").tobytes()).hexdigest()


def check_fractions(fractions: tuple[float, float, float], test_fraction: float = 0.0) -> None:
    """Refuse fractions that are out of range."""
    if len(fractions) != 3 or not all(0 <= share <= 1 for share in fractions) or sum(fractions) > 1 + 1e-9:
        raise ValueError(
            "Expected `fractions` to be shares of weights, arch and selection that sum to at most one, "
            f"but got {tuple(fractions)}."
        )
    if not fractions[0]:
        raise ValueError(f"Expected `fractions` to give the role 'weights' a share above zero, but got {fractions}.")
    if not 0 <= test_fraction < 1:
        raise ValueError(f"Expected `test_fraction` to be at least 0 and below 1, but got {test_fraction}.")


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
    """Integers near ``shares * size``; what rounding takes from a share is added to it in the next class."""
    wanted = [share * size + debt for share, debt in zip(shares, owed, strict=True)]
    counts = [math.floor(share * size) for share in shares]
    while sum(counts) < size:
        largest = max((i for i, share in enumerate(shares) if share), key=lambda i: wanted[i] - counts[i])
        counts[largest] += 1
    return counts, [want - got for want, got in zip(wanted, counts, strict=True)]
