"""Curvature as a diagnostic, against the dense Hessian by plain backward passes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from pytorch_lightning.callbacks import LambdaCallback
from robustnas.diagnostics import Curvature, Diagnostics
from robustnas.variants import GDAS, PCDARTS, ProxylessNAS, SmoothDARTS, SparsemaxDARTS
from runs import digits, fit, search
from tables import with_slow

from robustnas.data import Probe
from robustnas.networks.batchnorm_statistics import frozen_batchnorm_statistics
from robustnas.strategies import EntropyPenalty
from robustnas.training.curvature import largest, last_batch_eigenvalue, probe_batches, probe_hessian

TIGHT = 1e-7


@pytest.fixture
def exact() -> None:
    torch.set_default_dtype(torch.float64)


def ready(module: Any, **options: Any) -> tuple[Any, Probe]:
    data = digits(**{"batch_size": 8, **options})
    data.setup("fit")
    torch.manual_seed(1)
    for alpha in module.alphas.values():
        alpha.data.normal_()
    module.train()
    return module, Probe(data, torch.device("cpu"), torch.get_default_dtype())


def slope(module: Any, probe: Probe, samples: int, create_graph: bool) -> torch.Tensor:
    """The gradient of α's loss in α and β, by hand, the mean over the chunks."""
    total: Any = 0.0
    for batch in probe_batches(module, probe, samples):
        with frozen_batchnorm_statistics(module.supernet):
            outputs = module.supernet(batch.images, module.mixtures(module.context("arch")))
        loss = module.loss_of(outputs, batch.targets)
        loss = module.penalised(loss, module.context("arch"))
        found = torch.autograd.grad(loss, module.arch_parameters, create_graph=create_graph, materialize_grads=True)
        total = total + torch.cat([part.flatten() for part in found]) * len(batch.targets)
    return total / min(samples, len(probe.data.split.indices["arch"]))


def dense(module: Any, probe: Probe, samples: int) -> torch.Tensor:
    """The Hessian, a row for each number of the gradient."""
    gradient = slope(module, probe, samples, create_graph=True)
    rows = [torch.autograd.grad(g, module.arch_parameters, retain_graph=True) for g in gradient]
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
    bounds = ("max_upper", "min_lower", "max_upper_normal", "max_upper_reduce")
    assert set(values) == {f"curvature/{name}" for name in ("max", "min", "max_normal", "max_reduce", *bounds)}
    assert values["curvature/min_lower"] <= values["curvature/min"]
    assert values["curvature/max_normal"] <= values["curvature/max_upper_normal"] <= values["curvature/max_upper"]


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
    found = torch.linalg.eigvalsh(dense(module, probe, 8))
    values = Curvature(8, spectrum=True).measure(module, probe)
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


@pytest.mark.slow
@pytest.mark.usefixtures("exact")
def test_the_spectrum_has_the_blocks_of_kinds_too() -> None:
    module, probe = ready(search("S2", channels=2))
    ends = Curvature(8, TIGHT, kinds=True).measure(module, probe)
    whole = Curvature(8, spectrum=True).measure(module, probe)
    both = whole.keys() & ends.keys()
    assert {"curvature/max", "curvature/max_normal", "curvature/max_reduce"} <= both
    assert {name: whole[name] for name in both} == {name: pytest.approx(ends[name], rel=1e-6) for name in both}


@pytest.mark.usefixtures("exact")
def test_weight_decay_is_left_out_and_the_penalty_counts() -> None:
    plain = Curvature(8, TIGHT).measure(*ready(search(channels=2, arch_weight_decay=0.0)))
    module, probe = ready(search(channels=2, arch_weight_decay=5.0))
    assert Curvature(8, TIGHT).measure(module, probe) == plain
    batch = probe_batches(module, probe, 8)[0]
    value, upper = last_batch_eigenvalue(module, batch)
    assert value == pytest.approx(plain["curvature/max"] + 5, rel=1e-3)
    assert value <= upper <= 1.01 * value

    penalised, probe = ready(search(channels=2, penalty=EntropyPenalty(2.0)))
    values = Curvature(8, TIGHT).measure(penalised, probe)
    assert values["curvature/max"] == pytest.approx(
        float(torch.linalg.eigvalsh(dense(penalised, probe, 8))[-1]), rel=1e-6
    )
    assert abs(values["curvature/max"] - plain["curvature/max"]) > 0.01


@pytest.mark.parametrize(
    "variant", with_slow([GDAS, PCDARTS, ProxylessNAS, SmoothDARTS, SparsemaxDARTS], [PCDARTS, SmoothDARTS])
)
def test_every_relaxation_has_one_and_the_same_each_time(variant: Any) -> None:
    module, probe = ready(variant(space="NASBench201", channels=4, cells=1, image_channels=1))
    values = Curvature(8, TIGHT, smallest=True).measure(module, probe)
    assert values == Curvature(8, TIGHT, smallest=True).measure(module, probe)
    assert values["curvature/min"] <= values["curvature/max"]
    assert all(torch.isfinite(torch.tensor(list(values.values()))))
    spectrum = Curvature(8, spectrum=True).measure(module, probe)
    assert spectrum["curvature/max"] == pytest.approx(values["curvature/max"], rel=0.02, abs=1e-5)


@pytest.mark.slow
def test_by_default_it_is_what_the_stopping_rule_would_measure() -> None:
    """256 samples, all where there are fewer, with the bound and the standard error."""
    module, probe = ready(search(channels=2), batch_size=16, fractions=(0.06, 0.03, 0.04))
    values = Curvature().measure(module, probe)
    with frozen_batchnorm_statistics(module.supernet):
        expected = largest(probe_hessian(module, probe_batches(module, probe, 256), shared=False))
    assert values == {"curvature/max": expected.value, **expected.beside("curvature/max")}
    assert set(values) == {"curvature/max", "curvature/max_upper", "curvature/max_deviation"}
    assert Curvature(samples=16).measure(module, probe) != values


def test_a_short_search_is_measured_on_fewer_samples_and_a_continued_one_on_as_many(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One for each 1,500 images that the weights will see."""
    used: list[int] = []

    def few(module: Any, probe: Probe, samples: int) -> Any:
        used.append(samples)
        return probe_batches(module, probe, 4)  # their number is what is asked for

    monkeypatch.setattr("robustnas.diagnostics.curvature.probe_batches", few)
    options: dict[str, Any] = {"limit_train_batches": 1, "limit_val_batches": 1}

    def chosen(own: Curvature, epochs: int) -> Curvature:
        stop = LambdaCallback(on_train_epoch_start=lambda trainer, _: setattr(trainer, "should_stop", True))
        watching = [stop, Diagnostics([own], budget=None)]
        fit(tmp_path, search(channels=2), callbacks=watching, max_epochs=epochs, **options)
        return own

    images = len(digits().split.indices["weights"])
    for epochs, wanted in ((2, 32), (150_000 // images + 1, 100), (10**6, 256)):
        own = chosen(Curvature(), epochs)
        assert own.state_dict()["samples"] == wanted
        assert own.describe()["samples"] == "32 to 256, by length of the search"
    again, asked = Curvature(), Curvature(samples=8)
    for one, wanted in ((again, 256), (asked, 8)):
        one.load_state_dict(own.state_dict())
        assert one.state_dict()["samples"] == wanted
    assert chosen(again, 2).state_dict()["samples"] == 256
    assert used == [32, 100, 256, 256]


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
