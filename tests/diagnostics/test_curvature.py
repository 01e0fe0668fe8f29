"""Curvature as a diagnostic, against the dense Hessian by plain backward passes."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from robustnas.diagnostics import Curvature
from robustnas.variants import GDAS, PCDARTS, ProxylessNAS, SmoothDARTS, SparsemaxDARTS
from runs import digits, search

from robustnas.data import Probe
from robustnas.networks.statistics import still_statistics
from robustnas.strategies import EntropyPenalty

TIGHT = 1e-7


@pytest.fixture
def exact() -> None:
    torch.set_default_dtype(torch.float64)


def ready(module: Any, **options: Any) -> tuple[Any, Probe]:
    data = digits(**options)
    data.setup("fit")
    torch.manual_seed(1)
    for alpha in module.alphas.values():
        alpha.data.normal_()
    module.train()
    return module, Probe(data, torch.device("cpu"), torch.get_default_dtype())


def slope(module: Any, probe: Probe, samples: int, create_graph: bool) -> torch.Tensor:
    """The gradient of α's loss in α, by hand."""
    batch = probe.batches("arch", 1)[0]
    with still_statistics(module.supernet):
        outputs = module.supernet(batch.images[:samples], module.mixtures(module.moment("arch")))
    loss = module.loss_of(outputs, batch.targets[:samples])
    loss = module.penalty.total(loss, module.shares(), module.moment("arch"))
    alphas = list(module.alphas.values())
    found = torch.autograd.grad(loss, alphas, create_graph=create_graph, materialize_grads=True)
    return torch.cat([part.flatten() for part in found])


def dense(module: Any, probe: Probe, samples: int = 32) -> torch.Tensor:
    """The Hessian, a row for each number of the gradient."""
    gradient = slope(module, probe, samples, create_graph=True)
    rows = [torch.autograd.grad(g, list(module.alphas.values()), retain_graph=True) for g in gradient]
    return torch.stack([torch.cat([part.flatten() for part in row]) for row in rows])


@pytest.mark.usefixtures("exact")
def test_both_ends_and_the_blocks_of_kinds_are_those_of_the_dense_matrix() -> None:
    module, probe = ready(search("S2", channels=2))
    matrix = dense(module, probe, 8)
    values = Curvature(samples=8, tolerance=TIGHT, smallest=True, kinds=True).measure(module, probe)
    found = torch.linalg.eigvalsh(matrix)
    assert values["curvature/max"] == pytest.approx(float(found[-1]), rel=1e-6)
    assert values["curvature/min"] == pytest.approx(float(found[0]), rel=1e-6)
    split = module.alphas["normal"].numel()
    for kind, block in (("normal", matrix[:split, :split]), ("reduce", matrix[split:, split:])):
        assert values[f"curvature/max_{kind}"] == pytest.approx(float(torch.linalg.eigvalsh(block)[-1]), rel=1e-6)
    assert set(values) == {f"curvature/{name}" for name in ("max", "min", "max_normal", "max_reduce")}


@pytest.mark.usefixtures("exact")
def test_the_matrix_is_the_finite_difference_of_the_gradient() -> None:
    module, probe = ready(search(channels=2))
    matrix, step = dense(module, probe, 8), 1e-6
    top = torch.linalg.eigh(matrix).eigenvectors[:, -1]
    alpha, ends = module.alphas["cell"], []
    for sign in (1, -1):
        alpha.data += sign * step * top.view_as(alpha)
        ends.append(slope(module, probe, 8, create_graph=False))
        alpha.data -= sign * step * top.view_as(alpha)
    bend = float(top @ (ends[0] - ends[1])) / (2 * step)
    assert Curvature(8, TIGHT).measure(module, probe)["curvature/max"] == pytest.approx(bend, rel=1e-4)


@pytest.mark.usefixtures("exact")
def test_the_spectrum_is_that_of_the_dense_matrix() -> None:
    module, probe = ready(search(channels=2))
    found = torch.linalg.eigvalsh(dense(module, probe))
    values = Curvature(spectrum=True).measure(module, probe)
    bent = sorted(found.tolist(), key=abs)[6:]  # adding a number to a row of α changes no softmax
    wanted = {
        "max": found[-1],
        "min": found[0],
        "trace": found.sum(),
        "negative": sum(value < 0 for value in bent) / len(found),
        "quantile_25": torch.quantile(found, 0.25),
        "quantile_50": torch.quantile(found, 0.5),
        "quantile_75": torch.quantile(found, 0.75),
    }
    assert values == {
        f"curvature/{name}": pytest.approx(float(value), rel=1e-8, abs=1e-12) for name, value in wanted.items()
    }
    assert 0 < values["curvature/negative"] < 1


@pytest.mark.usefixtures("exact")
def test_the_spectrum_has_the_blocks_of_kinds_too() -> None:
    module, probe = ready(search("S2", channels=2))
    ends = Curvature(8, TIGHT, kinds=True).measure(module, probe)
    whole = Curvature(8, spectrum=True).measure(module, probe)
    assert {name: whole[name] for name in ends} == {
        name: pytest.approx(value, rel=1e-6) for name, value in ends.items()
    }


@pytest.mark.usefixtures("exact")
def test_weight_decay_is_left_out_and_the_penalty_counts() -> None:
    plain = Curvature(16, TIGHT).measure(*ready(search(channels=2, arch_weight_decay=0.0)))
    module, probe = ready(search(channels=2, arch_weight_decay=5.0))
    assert Curvature(16, TIGHT).measure(module, probe) == plain
    batch = probe.batches("arch", 1)[0]
    assert module.dominant_eigenvalue(batch) == pytest.approx(plain["curvature/max"] + 5, rel=1e-3)

    penalised, probe = ready(search(channels=2, penalty=EntropyPenalty(2.0)))
    values = Curvature(16, TIGHT).measure(penalised, probe)
    assert values["curvature/max"] == pytest.approx(
        float(torch.linalg.eigvalsh(dense(penalised, probe, 16))[-1]), rel=1e-6
    )
    assert abs(values["curvature/max"] - plain["curvature/max"]) > 0.01


@pytest.mark.parametrize("variant", [GDAS, PCDARTS, ProxylessNAS, SmoothDARTS, SparsemaxDARTS])
def test_every_relaxation_has_one_and_the_same_each_time(variant: Any) -> None:
    """β is no part of it: the size of the matrix is that of α."""
    module, probe = ready(variant(space="NASBench201", channels=4, cells=1, image_channels=1))
    values = Curvature(8, TIGHT, smallest=True).measure(module, probe)
    assert values == Curvature(8, TIGHT, smallest=True).measure(module, probe)
    assert values["curvature/min"] <= values["curvature/max"]
    assert all(torch.isfinite(torch.tensor(list(values.values()))))
    spectrum = Curvature(8, spectrum=True).measure(module, probe)
    assert spectrum["curvature/max"] == pytest.approx(values["curvature/max"], rel=0.02, abs=1e-5)


def test_the_samples_are_the_first_of_the_role_and_small_batches_are_taken_as_they_are() -> None:
    module, probe = ready(search(channels=2), batch_size=2)
    few = Curvature(samples=32).measure(module, probe)
    assert few == Curvature(samples=2).measure(module, probe)
    _, larger = ready(search(channels=2), batch_size=16)
    assert Curvature(samples=2).measure(module, larger) == few
    assert Curvature(samples=16).measure(module, larger) != few


def test_running_statistics_stay() -> None:
    module, probe = ready(search(channels=2))
    before = {name: buffer.clone() for name, buffer in module.supernet.named_buffers()}
    Curvature(8).measure(module, probe)
    assert all(torch.equal(buffer, before[name]) for name, buffer in module.supernet.named_buffers())


def test_bad_arguments() -> None:
    with pytest.raises(ValueError, match="Expected `samples` to be at least 2, but got 1"):
        Curvature(samples=1)
    for wrong in (0.0, 1.0):
        with pytest.raises(ValueError, match=f"Expected `tolerance` to be between 0 and 1, but got {wrong}"):
            Curvature(tolerance=wrong)
