"""On an accelerator no tensor lies on the wrong device, values are read where that is meant, and numbers are the same.

The accelerator is the stand-in of ``tests/accelerator.py``; ``tests/test_gpu.py`` has what a real GPU must show.
"""

from __future__ import annotations

from collections.abc import Iterator
from copy import deepcopy
from random import Random
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from accelerator import DEVICE, Accelerator, Far
from tables import with_slow
from torch import Tensor

from robustnas import variants
from robustnas.data.batch import Batch
from robustnas.networks import DiscreteNetwork, Mixture, ResNet, Supernet
from robustnas.spaces import DARTS, MobileSmall, NASBench201, SearchSpace
from robustnas.spaces.find import KNOWN
from robustnas.spaces.sampling import random_genotype
from robustnas.strategies import (
    BinaryGates,
    LargestDrop,
    RandomPerturbation,
    ShareThreshold,
    Strongest,
    Unrolled,
    UnrolledByDifferences,
)
from robustnas.strategies.step_context import Phase
from robustnas.training.curvature import last_batch_eigenvalue

DEPTHS: dict[str, dict[str, int]] = {"darts": {"layers": 3}, "nasbench201": {"cells": 1}, "mobile": {}}
METHODS: dict[str, tuple[str, dict[str, Any]]] = {
    **{name: (name, {}) for name in sorted(variants.__all__)},
    "FairDARTS": ("FairDARTS", {"selection": Strongest()}),  # in a space whose nodes keep every edge
    "second order": ("DARTS", {"gradient": Unrolled()}),
    "by differences": ("DARTS", {"gradient": UnrolledByDifferences()}),
    "random perturbation": ("SmoothDARTS", {"perturbation": RandomPerturbation()}),
    "full": ("ProxylessNAS", {"relaxation": BinaryGates("full")}),
    "full_v2": ("ProxylessNAS", {"relaxation": BinaryGates("full_v2")}),
    "mobile": ("ProxylessNAS", {"relaxation": BinaryGates("full_v2"), "space": "MobileSmall"}),
    "pruned": ("DARTS", {"pruning": ShareThreshold(0.19, 0.21)}),
    "by drops": ("DARTSPT", {"selection": LargestDrop("loss", finetune=1)}),
}
# What decides which operations are computed is read once for each kind of cell, whenever a mixture is made; what a
# sample is drawn from likewise, but not in evaluation.
CHOOSING = {
    "DrNAS": "strategies/dirichlet_sample.py: mixture",
    "GDAS": "strategies/gumbel_one_hot.py: one_path",
    "ProxylessNAS": "strategies/binary_gates.py: at",
    "RandomSharing": "strategies/uniform_one_hot.py: mixture",
    "SparsemaxDARTS": "strategies/sparsemax.py: mixture",
}


PHASES: tuple[Phase, ...] = ("evaluation", "weights", "arch")


@pytest.fixture
def accelerator() -> Iterator[Accelerator]:
    with Accelerator() as found:
        yield found


def small(method: str) -> Any:
    """A search that can take steps without a trainer; equal ones are equal."""
    name, options = METHODS[method]
    space = KNOWN[options.get("space", "S2" if name == "PCDARTS" else "NASBench201")]
    given = {"channels": 4, "image_channels": 1, **DEPTHS[space.skeleton], **options, "space": space.name}
    module = getattr(variants, name)(**given).double()
    module.log = module.log_dict = lambda *given, **named: None
    module._step = 7  # numbers that are not finite are looked for at every 50th
    module._trainer = SimpleNamespace(is_last_batch=False, global_step=7, current_epoch=0, max_epochs=2, world_size=1)
    return module


def batch() -> Batch:
    images = torch.rand(4, 1, 8, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    return Batch(images, torch.tensor([3, 1, 4, 1]), torch.tensor(0))


def agree(found: Tensor, expected: Tensor, name: str = "") -> None:
    assert isinstance(found.data, Far), name
    torch.testing.assert_close(found.data.held, expected.data, rtol=1e-8, atol=1e-9, msg=name or None)


ALIKE = (  # steps of DARTS, of SDARTS and of "full_v2", or of two methods that are compared by themselves
    "DARTSPT", "RobustDARTS", "random perturbation", "full", "SmoothDARTS", "PCDARTS", "second order", "by differences",
    "mobile",
)  # fmt: skip


@pytest.mark.parametrize("method", with_slow(METHODS, ALIKE))
def test_values_are_read_where_paths_are_chosen_and_genotypes_once(method: str, accelerator: Accelerator) -> None:
    """In mixtures, in a step of α and of the weights, and nowhere else; all numbers are those of the CPU."""
    near, far, given = small(method), small(method).to(DEVICE), batch()
    images = given.images
    accelerator.reads.clear()
    with torch.no_grad():
        for phase in PHASES:
            found = far.supernet(images.to(DEVICE), far.mixtures(far.context(phase)))
            agree(found, near.supernet(images, near.mixtures(near.context(phase))))
    kinds, place = len(near.space.cells), CHOOSING.get(METHODS[method][0])
    reading = len(PHASES) - (METHODS[method][0] == "DrNAS")
    assert accelerator.reads == ({place: reading * kinds} if place else {})
    accelerator.reads.clear()
    assert far.genotype() == near.genotype()
    assert sum(accelerator.reads.values()) == kinds
    assert all(where.startswith("strategies/selection.py: ") for where in accelerator.reads)
    there = given._replace(images=given.images.to(DEVICE), targets=given.targets.to(DEVICE))
    for module, one in ((near, given), (far, there)):
        optimisers = module.configure_optimizers()[0]
        module.optimizers = lambda use_pl_optimizer=True, optimisers=optimisers: optimisers
        accelerator.reads.clear()
        module.arch_step({"arch": one, "weights": one})
        module.weight_step({"arch": one, "weights": one})
    assert set(accelerator.reads) <= {place}
    for (name, one), other in zip(far.named_parameters(), near.parameters(), strict=True):
        agree(one, other, name)
    accelerator.reads.clear()
    for hook in far.hooks.values() if method == "pruned" else ():
        hook.last_step(there)
    assert sum(accelerator.reads.values()) == (len(far.space.cells) if method == "pruned" else 0)


@pytest.mark.parametrize("space", [DARTS, NASBench201, MobileSmall], ids=lambda space: space.name)
def test_networks_of_every_skeleton_and_operation_read_nothing(space: SearchSpace, accelerator: Accelerator) -> None:
    chosen, options = random_genotype(space, Random(2)), {"channels": 8, "num_classes": 4, **DEPTHS[space.skeleton]}
    images = torch.rand(3, 3, 16, 16, dtype=torch.float64)
    mixtures = {kind: torch.rand(cell.shape, dtype=torch.float64) for kind, cell in space.cells.items()}
    for make in (lambda: Supernet(space, **options), lambda: DiscreteNetwork(space, chosen, **options)):
        near, far = make().double(), make().double()
        far.load_state_dict(near.state_dict())
        far = far.to(DEVICE)
        accelerator.reads.clear()
        for training in (True, False):
            outputs = []
            for network, device in ((near, "cpu"), (far, DEVICE)):
                weights = ({kind: Mixture(values.to(device)) for kind, values in mixtures.items()},)
                given = weights if isinstance(network, Supernet) else ()
                torch.manual_seed(5)
                outputs.append(network.train(training)(images.to(device), *given, drop_path=0.3))
            agree(outputs[1], outputs[0])
        assert not accelerator.reads


def test_a_residual_network_reads_nothing(accelerator: Accelerator) -> None:
    near = ResNet(8, 1, 10, 3).double()
    far = deepcopy(near).to(DEVICE)
    images = torch.rand(3, 3, 16, 16, dtype=torch.float64)
    accelerator.reads.clear()
    agree(far(images.to(DEVICE)), near(images))
    assert not accelerator.reads


def test_curvature_reads_in_its_own_file(accelerator: Accelerator) -> None:
    near, far, given = small("DARTS"), small("DARTS").to(DEVICE), batch()
    there = given._replace(images=given.images.to(DEVICE), targets=given.targets.to(DEVICE))
    accelerator.reads.clear()
    assert last_batch_eigenvalue(far, there) == pytest.approx(last_batch_eigenvalue(near, given), rel=1e-6)
    assert {where.split(":")[0] for where in accelerator.reads} <= {"curvature/hessian.py", "curvature/eigenvalue.py"}


def test_the_stand_in_refuses_two_devices_and_counts_reads(accelerator: Accelerator) -> None:
    there, here = torch.ones(3, device=DEVICE), torch.ones(3)
    assert not there.is_cpu
    assert there.device == DEVICE
    for mixed in (lambda: there + here, lambda: torch.cat([there, here]), lambda: there.masked_fill(here > 0, 0.0)):
        with pytest.raises(AssertionError, match="got tensors of two devices"):
            mixed()
    agree(there * torch.tensor(2.0), here * 2)
    assert not accelerator.reads
    for read in (there[0].item, there.tolist, there.cpu, lambda: bool(there.any()), lambda: torch.equal(there, there)):
        accelerator.reads.clear()
        read()
        assert accelerator.reads == {"a test": 1}
    weight = torch.ones(2, device=DEVICE, requires_grad=True)
    agree(torch.autograd.grad(weight.square().sum(), weight)[0], torch.full((2,), 2.0))
