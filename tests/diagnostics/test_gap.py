"""The discretisation gap, against networks built for the purpose."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from robustnas.diagnostics import DiscretisationGap
from robustnas.diagnostics.gap import scores
from runs import digits, search

from robustnas.data import Probe
from robustnas.networks import DiscreteNetwork
from robustnas.networks.batchnorm_statistics import evaluating, recalibrate
from robustnas.networks.mixture import one_hots


def ready(space: str, **options: Any) -> tuple[Any, Probe]:
    data = digits()
    data.setup("fit")
    module = search(space, **options)
    for alpha in module.alphas.values():
        alpha.data.normal_()
    module.train()
    probe = Probe(data, torch.device("cpu"))
    for batch in probe.batches("weights", 3):  # running statistics of their own
        module.supernet(batch.images, module.mixtures(module.context("weights")))
    return module, probe


def test_the_gap_is_that_of_the_discrete_network_with_the_same_weights() -> None:
    module, probe = ready("NASBench201")
    batches = probe.batches("selection", 2)
    with torch.no_grad(), evaluating(module.supernet):
        supernet = scores(module, module.mixtures(module.context("evaluation")), batches)
    values = DiscretisationGap(batches=2).measure(module, probe)

    discrete = DiscreteNetwork("NASBench201", module.genotype(), channels=4, cells=1, num_classes=10, image_channels=1)
    discrete.load_edgewise_state_dict(module.supernet.edgewise_state_dict(), strict=False)
    recalibrate(discrete, lambda batch: discrete(batch.images), probe.batches("weights", 2))
    discrete.eval()
    with torch.no_grad():
        outputs = torch.cat([discrete(batch.images) for batch in batches])
    targets = torch.cat([batch.targets for batch in batches])
    assert values["gap/loss"] == pytest.approx(float(F.cross_entropy(outputs, targets)) - supernet["loss"], abs=1e-5)
    assert values["gap/discrete_accuracy"] == pytest.approx(float((outputs.argmax(1) == targets).float().mean()))


def test_stale_statistics_are_those_of_the_supernet() -> None:
    module, probe = ready("NASBench201")
    discrete = DiscreteNetwork("NASBench201", module.genotype(), channels=4, cells=1, num_classes=10, image_channels=1)
    discrete.load_edgewise_state_dict(module.supernet.edgewise_state_dict(), strict=False)
    discrete.eval()
    batches = probe.batches("selection", 2)
    values = DiscretisationGap(batches=2).measure(module, probe)
    with torch.no_grad():
        right = sum(int((discrete(batch.images).argmax(1) == batch.targets).sum()) for batch in batches)
    found = right / sum(len(batch.targets) for batch in batches)
    assert values["gap/supernet_accuracy"] - values["gap/accuracy_stale"] == pytest.approx(found)
    assert values["gap/supernet_accuracy"] - values["gap/accuracy"] == pytest.approx(values["gap/discrete_accuracy"])


def test_a_decided_search_has_no_gap() -> None:
    module, probe = ready("NASBench201")
    for alpha in module.alphas.values():
        alpha.data = 1e3 * F.one_hot(torch.tensor([1, 3, 3, 2, 3, 3]), 5).float()
    with torch.no_grad():
        recalibrate(
            module.supernet,
            lambda batch: module.supernet(
                batch.images,
                one_hots(module.space, module.genotype(), torch.zeros(1)),
            ),
            probe.batches("weights", 2),
        )
    values = DiscretisationGap(batches=2).measure(module, probe)
    assert values["gap/accuracy"] == values["gap/accuracy_stale"] == 0
    assert values["gap/loss"] == pytest.approx(0, abs=1e-5)


def test_recalibration_takes_the_mean_of_the_batches_statistics() -> None:
    norm = torch.nn.BatchNorm2d(3)
    norm.eval()
    inputs = [torch.randn(5, 3, 4, 4) + k for k in range(4)]
    recalibrate(norm, norm, inputs)
    assert not norm.training
    assert norm.momentum == 0.1
    assert torch.allclose(norm.running_mean, torch.stack([x.mean((0, 2, 3)) for x in inputs]).mean(0), atol=1e-6)
    assert torch.allclose(norm.running_var, torch.stack([x.var((0, 2, 3)) for x in inputs]).mean(0), atol=1e-5)


def test_recalibration_of_bundles_is_that_of_plain_norms() -> None:
    module, probe = ready("S2")
    mixtures = one_hots(module.space, module.genotype(), torch.zeros(1))
    batches = probe.batches("weights", 3)
    with torch.no_grad():
        recalibrate(module.supernet, lambda batch: module.supernet(batch.images, mixtures), batches)
    one_by_one = []
    for batch in batches:
        with torch.no_grad():
            recalibrate(module.supernet, lambda batch: module.supernet(batch.images, mixtures), [batch])
        one_by_one.append({name: buffer.clone() for name, buffer in module.supernet.named_buffers()})
    with torch.no_grad():
        recalibrate(module.supernet, lambda batch: module.supernet(batch.images, mixtures), batches)
    for name, buffer in module.supernet.named_buffers():
        if "running" in name:
            mean = torch.stack([each[name] for each in one_by_one]).mean(0)
            assert torch.allclose(buffer, mean, rtol=1e-4, atol=1e-6), name


def test_bad_arguments() -> None:
    with pytest.raises(ValueError, match="Expected `batches` to be at least 1, but got 0"):
        DiscretisationGap(batches=0)
