"""A data set together with who may see which of its samples."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from robustnas.data.duplicates import Duplicates, count_duplicates
from robustnas.data.images import Images, count_classes, pixel_statistics
from robustnas.data.parts import check_alike
from robustnas.data.splits import ROLES, Role, check_fractions, index_hash, split_roles


class SplitImages:
    """Images and the four disjoint roles of their samples.

    Args:
        train: The training part, from which the roles are drawn. Where it has a validation part, that is the role
            selection, and weights and arch share the rest in the proportion of their fractions.
        test: The test part, which then is the role test; ``None`` draws that role from ``train``, too.
        fractions: Shares of weights, arch and selection in what is not test.
        test_fraction: Share of ``train`` that becomes the role test where there is no test part.
        seed: Seed of the roles.

    Raises:
        ValueError: If the two parts do not fit together, all images are of one class, or the split is impossible.
    """

    def __init__(
        self,
        train: Images,
        test: Images | None,
        fractions: tuple[float, float, float],
        test_fraction: float,
        seed: int,
    ) -> None:
        _check_parts(train, test)
        self.train = train
        self.test = test
        count = len(train) - train.validation
        labels = train.targets[:count] if train.task == "classification" else None
        shares = _without_selection(fractions) if train.validation else fractions
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
        """The part of the data set that the indices of a role point into.

        Args:
            role: The role.

        Returns:
            The test part for a test role that has one, otherwise the training part.
        """
        return self.test if role == "test" and self.test is not None else self.train

    def union(self, *roles: Role) -> Tensor:
        """Indices of the samples that have one of ``roles``, ascending.

        Args:
            *roles: The roles; test only by itself.

        Returns:
            The indices, ``int64``.

        Raises:
            ValueError: If there is no role, an unknown one, or test together with others.
        """
        if not roles or not set(roles) <= set(ROLES) or ("test" in roles and set(roles) != {"test"}):
            raise ValueError(f"Expected roles among {list(ROLES[:3])}, or 'test' alone, but got {list(roles)}.")
        return torch.cat([self.indices[role] for role in dict.fromkeys(roles)]).sort().values

    def select(self, role: Role) -> Images:
        """The samples of one role, copied.

        Args:
            role: The role.

        Returns:
            Its images and targets, in the order of the data set.

        Raises:
            ValueError: If the role is unknown or empty.
        """
        indices = self.union(role)
        if not len(indices):
            raise ValueError(f"Expected the role {role!r} to have samples, but got none: its fraction is 0.")
        return self.part(role).select(indices)

    def statistics(self) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """Mean and standard deviation of each channel over the roles weights and arch, as shares of 255."""
        mean, std = pixel_statistics(self.train.pixels, self.union("weights", "arch"))
        return tuple(mean.tolist()), tuple(std.tolist())

    def hashes(self) -> dict[str, str]:
        """Hash of each role's indices."""
        return {role: index_hash(indices) for role, indices in self.indices.items()}

    def class_counts(self) -> dict[Role, dict[str, int]]:
        """Samples of each class, or positive samples of each label, in every role that has samples."""
        return {
            role: count_classes(part.targets[indices], part.task, part.classes)
            for role, indices in self.indices.items()
            if len(indices)
            for part in [self.part(role)]
        }

    def duplicates(self) -> Duplicates:
        """How many images have the same pixels as others, and how many of these lie in several roles."""
        parts: list[tuple[Tensor, list[str | None]]] = []
        for images in (self.train, *([] if self.test is None else [self.test])):
            roles: list[str | None] = [None] * len(images)
            for role, indices in self.indices.items():
                if self.part(role) is images:
                    for index in indices.tolist():
                        roles[index] = role
            parts.append((images.pixels, roles))
        return count_duplicates(parts)

    def reading(self) -> dict[str, dict[str, Any]]:
        """What was left out or changed when the parts were read, of each part where there is something."""
        train = dict(self.train.reading)
        parts = {
            "training": train,
            "validation": train.pop("validation", {}),
            "test": {} if self.test is None else dict(self.test.reading),
        }
        return {part: reading for part, reading in parts.items() if reading}

    def describe(self) -> dict[str, Any]:
        """Sizes, hashes and classes of the roles, hashes of the data and what was left out, in plain JSON values."""
        hashes, counts = self.hashes(), self.class_counts()
        roles: dict[str, Any] = {}
        for role, indices in self.indices.items():
            roles[role] = {"size": len(indices), "sha256": hashes[role], "class_counts": counts.get(role, {})}
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
    """Refuse roles with other samples than those of a checkpoint.

    Args:
        held: Hash of each role in the checkpoint.
        found: Hash of each role now.

    Raises:
        ValueError: If one differs.
    """
    if changed := [role for role, value in found.items() if held.get(role) != value]:
        raise ValueError(
            f"Expected the roles to be those of the checkpoint, but got other samples for {changed}: resume with "
            "the same data, `split_seed`, `fractions` and `test_fraction`."
        )


def _without_selection(fractions: tuple[float, float, float]) -> tuple[float, float, float]:
    check_fractions(fractions)
    weights, arch, selection = fractions
    scale = 1 + selection / (weights + arch)
    return weights * scale, arch * scale, 0.0


def _check_parts(train: Images, test: Images | None) -> None:
    if train.task == "classification" and len(train.targets.unique()) < 2:
        name = train.classes[int(train.targets[0])]
        raise ValueError(f"Expected images of at least two classes, but got {len(train)} of class {name!r} alone.")
    if test is not None:
        check_alike(train, test, "test")
