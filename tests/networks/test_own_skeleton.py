"""A skeleton of one's own registers itself, and builds networks like those that come with the package."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from random import Random

import pytest
import torch
from torch import nn

from robustnas.networks import DiscreteNetwork, Supernet
from robustnas.networks.skeleton import DARTSSkeleton, Skeleton
from robustnas.spaces import DARTS, SearchSpace, SkeletonRules, random_genotype, register_skeleton
from robustnas.spaces.space import SKELETONS


@pytest.fixture
def own_skeleton() -> Iterator[SearchSpace]:
    """The DARTS space with a skeleton of another name, which builds the same networks."""
    register_skeleton("mine", SkeletonRules(SKELETONS["darts"].kinds, "layers", 3, 3, "evaluate_s1_s4.yaml"))

    class Mine(DARTSSkeleton, name="mine"):
        pass

    yield replace(DARTS, name="Mine", skeleton="mine")
    del SKELETONS["mine"], Skeleton.builders["mine"]


def test_a_skeleton_registers_itself(own_skeleton: SearchSpace) -> None:
    networks: list[nn.Module] = []
    for space, size in ((DARTS, {"layers": 3}), (own_skeleton, {})):
        torch.manual_seed(0)
        networks.append(Supernet(space, channels=4, **size))
        networks.append(DiscreteNetwork(space, random_genotype(space, Random(0)), channels=4, **size))
    for one, other in zip(networks[:2], networks[2:], strict=True):
        pairs = zip(one.state_dict().items(), other.state_dict().items(), strict=True)
        assert all(a == b and torch.equal(x, y) for (a, x), (b, y) in pairs)
    with pytest.raises(ValueError, match="Expected `layers` to set the depth in the space Mine, but got `cells` = 5"):
        Supernet(own_skeleton, cells=5)
    with pytest.raises(ValueError, match="Expected `name` to be that of a new skeleton, but got 'darts'"):
        register_skeleton("darts", SKELETONS["darts"])
