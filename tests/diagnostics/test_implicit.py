"""The share of the implicit term, against a step of SGD that is written out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from robustnas.diagnostics import ImplicitShare
from robustnas.variants import GDAS, PCDARTS, ProxylessNAS
from runs import digits, fit, rows, search

from robustnas.data import Probe
from robustnas.networks.batchnorm_statistics import frozen_batchnorm_statistics
from robustnas.strategies import Unrolled, UnrolledByDifferences

NAME, COSINE = "gradient/implicit_share", "gradient/implicit_cosine"


@pytest.fixture
def exact() -> None:
    torch.set_default_dtype(torch.float64)


def ready(module: Any) -> tuple[Any, Probe]:
    """A search in the middle of an epoch, its weights in motion."""
    data = digits()
    data.setup("fit")
    for parameter in module.arch_parameters:
        parameter.data.normal_()
    module.train()
    optimizers = module.configure_optimizers()[0]
    for weight in module.supernet.parameters():
        optimizers[0].state[weight]["momentum_buffer"] = 0.01 * torch.randn_like(weight)
    module.optimizers = lambda use_pl_optimizer: optimizers
    return module, Probe(data, torch.device("cpu"), torch.get_default_dtype())


def written_out(module: Any, probe: Probe) -> tuple[torch.Tensor, torch.Tensor]:
    """The gradient through one step of SGD, and the same where that step counts as fixed."""
    sgd, weights = module.optimizers(False)[0], dict(module.supernet.named_parameters())
    batch = {role: probe.batches(role, 1)[0] for role in ("weights", "arch")}
    found = []
    for through in (True, False):
        with frozen_batchnorm_statistics(module.supernet):
            loss, _ = module.loss(batch["weights"], module.mixtures(module.context("arch")), weights)
            slopes = torch.autograd.grad(loss, list(weights.values()), create_graph=True, materialize_grads=True)
            moved = {}
            for (name, weight), slope in zip(weights.items(), slopes, strict=True):
                push = (slope if through else slope.detach()) + module.weight_decay * weight
                moved[name] = weight - module.lr * (module.momentum * sgd.state[weight]["momentum_buffer"] + push)
            slope_of = torch.autograd.grad(module.arch_loss(batch["arch"], moved), module.arch_parameters)
        found.append(torch.cat([part.flatten() for part in slope_of]))
    return found[0], found[1]


@pytest.mark.usefixtures("exact")
@pytest.mark.parametrize(
    "module",
    [
        lambda: search("S2", channels=2, gradient=Unrolled(), lr=0.5),
        lambda: search(channels=2, gradient=UnrolledByDifferences(), lr=0.1),
        lambda: PCDARTS(
            gradient=Unrolled(), space="NASBench201", channels=4, cells=1, image_channels=1, arch_start=0, lr=0.3
        ),
    ],
    ids=["S2", "differences", "edge weights"],
)
def test_the_share_is_that_of_a_step_written_out(module: Any) -> None:
    module, probe = ready(module())
    whole, direct = written_out(module, probe)
    values = ImplicitShare().measure(module, probe)
    share = float((whole - direct).norm() / whole.norm())
    assert values == {NAME: pytest.approx(share, rel=1e-8)}
    assert share > 1e-3


@pytest.mark.usefixtures("exact")
def test_a_short_difference_agrees_and_a_long_one_does_not() -> None:
    module, probe = ready(search("S2", channels=2, gradient=Unrolled()))
    short = ImplicitShare(differences=True, radius=1e-6).measure(module, probe)
    assert short[COSINE] == pytest.approx(1, abs=1e-4)
    assert short[NAME] == ImplicitShare().measure(module, probe)[NAME]
    far = ImplicitShare(differences=True, radius=20.0).measure(module, probe)
    assert -1 <= far[COSINE] < 0.99


@pytest.mark.usefixtures("exact")
def test_the_distance_is_that_of_the_search_unless_given() -> None:
    module, probe = ready(search(channels=2, gradient=UnrolledByDifferences(0.5)))
    own = ImplicitShare(differences=True).measure(module, probe)[COSINE]
    assert own == ImplicitShare(differences=True, radius=0.5).measure(module, probe)[COSINE]
    assert own != ImplicitShare(differences=True, radius=0.01).measure(module, probe)[COSINE]


def test_it_is_measured_where_the_search_looks_ahead_or_always() -> None:
    first_order, probe = ready(search(channels=2))
    assert ImplicitShare().measure(first_order, probe) == {}
    assert ImplicitShare(always=True).measure(first_order, probe)[NAME] > 0
    waiting, probe = ready(search(channels=2, gradient=Unrolled(), arch_start=1))
    assert ImplicitShare().measure(waiting, probe) == {}
    assert ImplicitShare(always=True).measure(waiting, probe)[NAME] > 0


@pytest.mark.parametrize("variant", [GDAS, ProxylessNAS])
def test_sampled_searches_can_be_asked(variant: Any) -> None:
    module, probe = ready(variant(space="NASBench201", channels=4, cells=1, image_channels=1))
    values = ImplicitShare(always=True, differences=True).measure(module, probe)
    assert values == ImplicitShare(always=True, differences=True).measure(module, probe)
    assert all(torch.isfinite(torch.tensor(list(values.values()))))


def test_both_terms_see_the_same_edges_dropped(tmp_path: Path) -> None:
    """With a step of no length there is no implicit term, whatever drop path draws."""
    module = search(gradient=Unrolled(), drop_path=0.4, lr=1e-12, lr_min=0.0, momentum=0.0)
    running = fit(tmp_path, module, max_epochs=2, limit_train_batches=2, callbacks=[ImplicitShare(budget=None)])
    assert [row[NAME] for row in rows(running)] == [pytest.approx(0, abs=1e-5)] * 2


def test_bad_arguments() -> None:
    with pytest.raises(ValueError, match=r"Expected `radius` to be positive, but got 0\.0"):
        ImplicitShare(radius=0.0)
