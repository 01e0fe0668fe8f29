"""A data set together with who may see which of its samples."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from robustnas.data.images import Images, pixel_statistics
from robustnas.data.splits import ROLES, Role, index_hash, split_roles


class SplitImages:
    """Images and the four disjoint roles of their samples.

    Args:
        train: The training part, from which the roles are drawn.
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
        labels = train.targets if train.task == "classification" else None
        self.indices = split_roles(len(train), fractions, seed, labels, test_fraction if test is None else 0.0)
        if test is not None:
            self.indices["test"] = torch.arange(len(test))
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

    def describe(self) -> dict[str, Any]:
        """Sizes, hashes and classes of the roles and hashes of the data, in plain JSON values."""
        hashes = self.hashes()
        roles: dict[str, Any] = {}
        for role, indices in self.indices.items():
            counts = self.select(role).class_counts() if len(indices) else {}
            roles[role] = {"size": len(indices), "sha256": hashes[role], "class_counts": counts}
        return {
            "task": self.train.task,
            "classes": list(self.train.classes),
            "image_shape": list(self.train.shape),
            "split_seed": self.seed,
            "roles": roles,
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


def _check_parts(train: Images, test: Images | None) -> None:
    if train.task == "classification" and len(train.targets.unique()) < 2:
        name = train.classes[int(train.targets[0])]
        raise ValueError(f"Expected images of at least two classes, but got {len(train)} of class {name!r} alone.")
    if test is None:
        return
    for name in ("task", "classes", "shape"):
        ours, theirs = getattr(train, name), getattr(test, name)
        if ours != theirs:
            raise ValueError(
                f"Expected the test part to have the {name} of the training part, {ours}, but got {theirs}."
            )
