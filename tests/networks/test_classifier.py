"""Networks offer what timm's do, for every skeleton, and train in a loop that knows nothing of this library."""

from __future__ import annotations

from random import Random

import pytest
import torch
import torch.nn.functional as F
from tables import check_each
from torch import nn

from robustnas.networks import DiscreteNetwork, ResNet
from robustnas.networks.classifier import Classifier, FeatureInfo
from robustnas.spaces import find_space, random_genotype

CHANNELS = 4
ROWS = [  # space, options, channels and stride of each feature map
    ("DARTS", {"layers": 3, "auxiliary": True}, [(16, 1), (32, 2), (64, 4)]),
    ("DARTS", {"layers": 3, "stem": "imagenet"}, [(4, 4), (16, 8), (32, 16), (64, 32)]),
    ("DARTSSingleCell", {}, [(32, 1)]),
    ("NASBench201", {"cells": 1}, [(4, 1), (8, 2), (16, 4)]),
    ("MobileSmall", {}, [(8, 1), (8, 2), (1280, 4)]),
]


def network(space: str, **options: object) -> DiscreteNetwork:
    genotype = random_genotype(find_space(space), Random(0))
    return DiscreteNetwork.from_genotype(str(genotype), num_classes=5, channels=CHANNELS, **options)


def test_features_head_and_feature_maps_of_every_skeleton() -> None:
    def check(row: tuple[str, dict[str, object], list[tuple[int, int]]]) -> None:
        space, options, expected = row
        one: Classifier = network(space, **options).eval() if space != "ResNet" else ResNet(4, 1, 5).eval()
        images = torch.randn(2, 3, 32, 32)
        features, maps = one.forward_features(images), one.feature_maps(images)
        torch.testing.assert_close(one.forward_head(features), one(images), rtol=0, atol=0)
        torch.testing.assert_close(one.get_classifier()(one.forward_head(features, pre_logits=True)), one(images))
        torch.testing.assert_close(maps[-1], features, rtol=0, atol=0)
        assert features.shape[1] == one.num_features
        assert one.feature_info == [FeatureInfo(*pair) for pair in expected]
        assert [tuple(m.shape[1:]) for m in maps] == [(c, 32 // s, 32 // s) for c, s in expected]
        one.reset_classifier(7)
        assert one(images).shape == (2, 7)
        one.reset_classifier(0)
        torch.testing.assert_close(one(images), features.mean((2, 3)))

    check_each([*ROWS, ("ResNet", {}, [(4, 1), (8, 2), (16, 4)])], check)


def test_a_new_classifier_counts_in_the_configuration_and_at_the_auxiliary_head() -> None:
    one = network("DARTS", layers=3, auxiliary=True).double()
    one.reset_classifier(3)
    outputs, auxiliary = one.with_auxiliary(torch.randn(2, 3, 8, 8, dtype=torch.float64))
    assert auxiliary is not None
    assert outputs.shape == auxiliary.shape == (2, 3)
    assert one.config.num_classes == 3
    with pytest.raises(ValueError, match="Expected `num_classes` to be 0 or more, but got -1"):
        one.reset_classifier(-1)


def test_feature_info_leaves_the_mode_and_the_statistics_as_they_are() -> None:
    one = network("NASBench201", cells=1)
    before = {name: value.clone() for name, value in one.state_dict().items()}
    assert len(one.feature_info) == 3
    assert one.training
    assert all(torch.equal(value, before[name]) for name, value in one.state_dict().items())


def test_a_plain_training_loop_learns_with_and_without_compilation() -> None:
    """Two classes, bright and dark."""
    targets = torch.arange(16) % 2
    images = targets[:, None, None, None] + 0.3 * torch.randn(16, 3, 8, 8)

    def losses(model: nn.Module) -> list[float]:
        optimizer, found = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9), []
        for _ in range(6):
            optimizer.zero_grad()
            loss = F.cross_entropy(model(images), targets)
            loss.backward()
            optimizer.step()
            found.append(loss.item())
        return found

    def check(compiled: bool) -> None:
        one = network("NASBench201", cells=1)
        model = torch.compile(one, backend="aot_eager", fullgraph=True) if compiled else one
        found = losses(model)
        assert found[-1] < 0.5 * found[0], found

    check_each([False, True], check)
