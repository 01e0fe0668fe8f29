"""Digits are those of scikit-learn, and their split never changes."""

from __future__ import annotations

import torch
from sklearn.datasets import load_digits

from robustnas.data import Augmentation, Digits


def test_the_images_are_those_of_scikit_learn_at_full_brightness():
    train, test = Digits().load()
    source = load_digits()
    assert test is None
    assert train.shape == (1, 8, 8)
    assert train.classes == tuple("0123456789")
    assert train.pixels.max() == 255
    assert torch.equal((train.pixels[:, 0].double() * 16 / 255).round(), torch.from_numpy(source.images))
    assert train.targets.tolist() == source.target.tolist()


def test_the_roles_are_stratified_and_as_large_as_asked():
    data = Digits()
    counts = {role: torch.tensor(list(data.role(role).class_counts().values())) for role in data.split.indices}
    assert {role: int(part.sum()) for role, part in counts.items()} == {
        "weights": 647,
        "arch": 647,
        "selection": 144,
        "test": 359,
    }
    whole = torch.tensor(list(data.split.train.class_counts().values()))
    shares = {"weights": 0.36, "arch": 0.36, "selection": 0.08, "test": 0.2}
    for role, share in shares.items():
        assert (counts[role] - share * whole).abs().max() < 2


def test_the_split_does_not_change_between_versions():
    hashes = {role: digest[:12] for role, digest in Digits().split.hashes().items()}
    assert hashes == {
        "weights": "f8ffd29ba795",
        "arch": "f15f1225b61f",
        "selection": "44ee5a5533d7",
        "test": "e86eb8a9962d",
    }


def test_the_default_augmentation_neither_mirrors_nor_moves_far():
    assert Digits().augmentation == Augmentation(crop=1, flip=False, cutout=0)
    assert Digits(augmentation=None).augmentation is None
