"""The measurement that rule and diagnostic share, against dense Hessians by plain double backward passes."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from pytorch_lightning.callbacks import ModelCheckpoint
from ranks import in_two
from robustnas.diagnostics import Curvature, Diagnostics
from robustnas.variants import GDAS, PCDARTS, ProxylessNAS, RobustDARTS
from runs import SMALLEST, StopAfter, differing, digits, fit, rows, search, state
from torch import Tensor

from robustnas.curvature.eigenvalue import Bounded
from robustnas.data import Probe
from robustnas.data.batch import derived_seed
from robustnas.networks import PartialChannels
from robustnas.networks.batchnorm_statistics import frozen_batchnorm_statistics
from robustnas.strategies import (
    BinaryGates,
    CurvatureRise,
    EntropyPenalty,
    GumbelOneHot,
    RaiseDecay,
    Softmax,
    Sparsemax,
)
from robustnas.training.curvature import ProbeHessian, largest, measure, measured, probe_batches, probe_hessian
from robustnas.training.search import SearchModule

SAMPLES = 16
BETA = {"connection": PartialChannels(2), "edge_weights": True}
CASES: dict[str, dict[str, Any]] = {
    "softmax": {"relaxation": Softmax()},
    "sparsemax": {"relaxation": Sparsemax()},
    "Gumbel": {"relaxation": GumbelOneHot(tau_start=2.0, tau_end=2.0)},
    "binary gates": {"relaxation": BinaryGates()},
    "partial channels, β": BETA,
    "partial channels, β, sparsemax": {**BETA, "relaxation": Sparsemax()},
    "penalty": {"penalty": EntropyPenalty(0.5)},
}
# Of two a third case has both; tests of the diagnostic compare the others, in another space.
IN_ANOTHER = ("sparsemax", "partial channels, β", "softmax", "penalty", "binary gates")


def ready(scale: float, space: str = "NASBench201", **options: Any) -> tuple[Any, Any]:
    """A search at a random α, and its data in batches of eight."""
    module = search(space, **options)
    generator = torch.Generator().manual_seed(3)
    for parameter in module.arch_parameters:
        parameter.data = scale * torch.randn(parameter.shape, generator=generator)
    data = digits(batch_size=8)
    data.setup("fit")
    return module.train(), Probe(data, torch.device("cpu"))


def dense(module: Any, probe: Probe) -> Tensor:
    """The Hessian on the chunks, each with a graph of its own and a backward pass for each number of the gradient."""
    parameters, mean = module.arch_parameters, torch.zeros(())
    for chunk in probe_batches(module, probe, SAMPLES):
        generator = torch.Generator().manual_seed(derived_seed(module.seed, "curvature"))
        context = replace(module.context("arch"), generator=generator)
        with frozen_batchnorm_statistics(module.supernet):
            logits = module.supernet(chunk.images, module.mixtures(context))
        loss = module.penalised(module.loss_of(logits, chunk.targets), context)
        slopes = torch.autograd.grad(loss, parameters, create_graph=True, materialize_grads=True)
        rows = []
        for number in torch.cat([slope.flatten() for slope in slopes]):
            row = torch.autograd.grad(number, parameters, retain_graph=True, materialize_grads=True)
            rows.append(torch.cat([part.flatten() for part in row]))
        mean = mean + torch.stack(rows).double() * len(chunk.targets) / SAMPLES
    return (mean + mean.T) / 2


def probed(module: Any, probe: Probe) -> ProbeHessian:
    return probe_hessian(module, probe_batches(module, probe, SAMPLES), shared=False)


def agree(module: Any, probe: Probe) -> None:
    """Never above the dense one, never beyond the bound, and within five per cent, rounding apart."""
    spectrum = torch.linalg.eigvalsh(dense(module, probe))
    true, slack = float(spectrum[-1]), 1e-4 * float(spectrum.abs().max())
    with frozen_batchnorm_statistics(module.supernet):
        found = largest(probed(module, probe))
    assert -slack <= true - found.value
    assert true <= found.upper + slack
    assert abs(found.value - true) <= 0.05 * abs(true) + slack


@pytest.mark.parametrize("scale", [pytest.param(scale, marks=pytest.mark.slow) for scale in (0.01, 4.0)] + [1.0])
@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.slow if name in IN_ANOTHER else []) for name in CASES]
)
def test_the_eigenvalue_is_that_of_the_dense_hessian(name: str, scale: float) -> None:
    agree(*ready(scale, **CASES[name]))


@pytest.mark.slow
@pytest.mark.parametrize("scale", [0.01, 1.0, 4.0])
@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("space", ["S2", "DARTS"])
def test_so_it_is_in_spaces_of_two_kinds_of_cell(space: str, name: str, scale: float) -> None:
    agree(*ready(scale, space, **CASES[name]))


@pytest.mark.slow
def test_beta_is_part_of_it_and_weight_decay_and_drop_path_are_not() -> None:
    plain, probe = ready(1.0)
    with frozen_batchnorm_statistics(plain.supernet):
        value = largest(probed(plain, probe))
    for options in ({"arch_weight_decay": 5.0}, {"drop_path": 0.5}):
        other, probe = ready(1.0, **options)
        with frozen_batchnorm_statistics(other.supernet):
            assert largest(probed(other, probe)) == value
    weighted, probe = ready(1.0, edge_weights=True)
    assert probed(weighted, probe).size == probed(plain, probe).size + 6


def test_samples_are_drawn_from_the_role_by_the_seed_of_the_search() -> None:
    module, probe = ready(1.0)
    first, again = probe_batches(module, probe, 30), probe_batches(module, probe, 30)
    assert [len(batch.targets) for batch in first] == [10, 10, 10]
    assert all(torch.equal(a.images, b.images) for a, b in zip(first, again, strict=True))
    own = {tuple(image.flatten().tolist()) for batch in probe.all("arch") for image in batch.images}
    assert {tuple(image.flatten().tolist()) for batch in first for image in batch.images} <= own
    other, _ = ready(1.0, seed=1)
    assert not torch.equal(probe_batches(other, probe, 30)[0].images, first[0].images)
    held = len(probe.data.split.indices["arch"])
    assert sum(len(batch.targets) for batch in probe_batches(module, probe, 10_000)) == held
    with pytest.raises(ValueError, match="Expected `role` to be weights, arch or selection, but got 'test'"):
        probe.drawn("test", 4, 2, 0)


def test_the_deviation_is_the_jackknife_over_matrices_that_are_known() -> None:
    """Three chunks of equal weight, and the matrices in the place of products with the columns of the identity."""
    matrices = torch.randn(3, 5, 5).double()
    matrices = matrices + matrices.mT
    hessian: Any = SimpleNamespace(
        losses=[None] * 3, weights=torch.full((3,), 1 / 3).double(), parts=[*matrices.movedim(2, 0)]
    )
    each = torch.stack([torch.linalg.eigvalsh((matrices.sum(0) - one) / 2)[-1] for one in matrices])
    found = measured(Bounded(1.0, 0.0, torch.zeros(0), torch.eye(5).double()), hessian)
    assert found.deviation == pytest.approx(float((2 / 3 * (each - each.mean()).square().sum()).sqrt()))
    assert found.chunks == 3


@pytest.mark.slow
def test_the_deviation_is_the_jackknife_over_chunks() -> None:
    """Against eigenvalues of the dense matrices without one chunk; the iteration sees nearly as much."""
    module, probe = ready(1.0)
    chunks = probe_batches(module, probe, 24)
    with frozen_batchnorm_statistics(module.supernet):
        hessian = probe_hessian(module, chunks, shared=False)
        hessian.dense()
        seen = largest(probe_hessian(module, chunks, shared=False))
        alone = largest(probe_hessian(module, chunks[:1], shared=False))
    whole = torch.stack(hessian.parts, dim=1)  # [chunks, size, size]
    each = torch.linalg.eigvalsh((whole.sum(0) - whole) / 2)[:, -1]
    expected = float((2 / 3 * (each - each.mean()).square().sum()).sqrt())
    identity = Bounded(seen.value, 0.0, torch.zeros(0), torch.eye(hessian.size).double())
    assert measured(identity, hessian).deviation == pytest.approx(expected, rel=1e-3)
    assert seen.deviation == pytest.approx(expected, rel=0.1)
    assert seen.chunks == 3
    assert math.isnan(alone.deviation)


RULE = CurvatureRise(interval=1, samples=SAMPLES)
SHARED = ("max", "max_upper", "max_deviation")
SHORT: dict[str, Any] = {"limit_train_batches": 3, "limit_val_batches": 1}


def watched(module: SearchModule, folder: Path, checkpoint: Path | None = None, **options: Any) -> Any:
    callbacks = [*options.pop("callbacks", ()), Diagnostics([Curvature(samples=24)], budget=0.0)]
    return fit(folder, module, checkpoint, callbacks=callbacks, data=digits(batch_size=8), **SHORT, **options)


def robust(**options: Any) -> RobustDARTS:
    return RobustDARTS(**{**SMALLEST["NASBench201"], "channels": 4, "image_channels": 1, "stopping": RULE, **options})


@pytest.mark.parametrize("epochs", [1, pytest.param(3, marks=pytest.mark.slow)])
def test_rule_and_diagnostic_report_one_number_that_is_computed_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, epochs: int
) -> None:
    """At the epochs of the rule, whatever samples the diagnostic would take by itself; between them on the rule's."""
    calls: list[int] = []
    product = ProbeHessian.product
    monkeypatch.setattr(ProbeHessian, "product", lambda *args: (calls.append(1), product(*args))[1])
    module = robust(stopping=replace(RULE, interval=2))
    found = rows(watched(module, tmp_path, max_epochs=epochs))
    assert ["arch/curvature" in row for row in found] == [True, False, True][:epochs]
    for row in found[::2]:
        for name in SHARED:
            assert row[f"curvature/{name}"] == row[f"arch/curvature{name.removeprefix('max')}"]
    both = len(calls)
    often = rows(fit(tmp_path / "a", robust(), data=digits(batch_size=8), max_epochs=epochs, **SHORT))
    assert len(calls) == 2 * both > 0  # as many products as of the rule in every epoch
    for row, other in zip(found, often, strict=True):
        assert all(row[f"curvature/max{name}"] == other[f"arch/curvature{name}"] for name in ("", "_upper"))


@pytest.mark.slow
def test_with_more_asked_for_the_largest_is_still_the_rules(tmp_path: Path) -> None:
    more = Curvature(samples=24, smallest=True, budget=None)
    (row,) = rows(fit(tmp_path, robust(), callbacks=[more], data=digits(batch_size=8), **SHORT))
    assert row["curvature/max"] == row["arch/curvature"]
    assert row["curvature/min_lower"] <= row["curvature/min"] < row["curvature/max"]


def test_the_papers_form_is_that_of_the_last_batch_and_the_diagnostic_measures_by_itself(tmp_path: Path) -> None:
    module = robust(stopping=CurvatureRise(measured_on="last_batch"), drop_path=0.3)
    own = Curvature(samples=SAMPLES, budget=None)
    (row,) = rows(fit(tmp_path, module, callbacks=[own], data=digits(batch_size=8), **SHORT))
    assert row["curvature/max"] != row["arch/curvature"] > module.arch_weight_decay
    assert "arch/curvature_deviation" not in row
    assert module.hooks["early_stopping"].measured(module.global_step) is None


@pytest.mark.slow
@pytest.mark.parametrize("step", [3, 4])
def test_a_resumed_search_measures_and_reports_the_same(tmp_path: Path, step: int) -> None:
    """Also from between the measurement, in the last step of an epoch, and its report."""
    whole = watched(robust(), tmp_path / "whole", max_epochs=2)
    saver = ModelCheckpoint(tmp_path, "{step}", every_n_train_steps=step, save_top_k=-1)
    with pytest.raises(RuntimeError, match="killed"):
        watched(robust(), tmp_path / "cut", callbacks=[saver, StopAfter(step)], max_epochs=2)
    resumed = watched(robust(), tmp_path / "cut", tmp_path / f"step={step}.ckpt", max_epochs=2)
    assert differing(state(resumed), state(whole)) == []
    names = [name for name in rows(whole)[1] if "curvature" in name]
    assert {f"curvature/{name}" for name in SHARED} < set(names)
    assert [{n: row[n] for n in names} for row in rows(resumed)] == [{n: row[n] for n in names} for row in rows(whole)]
    assert (
        resumed.lightning_module.hooks["early_stopping"].values == whole.lightning_module.hooks["early_stopping"].values
    )


SLOWER = [pytest.param(variant, marks=pytest.mark.slow) for variant in (GDAS, ProxylessNAS)]


@pytest.mark.parametrize("variant", [PCDARTS, *SLOWER])
def test_measuring_leaves_no_trace(tmp_path: Path, variant: Any) -> None:
    def made(**options: Any) -> SearchModule:
        found: SearchModule = variant(
            **{**SMALLEST["NASBench201"], "channels": 4, "image_channels": 1, "arch_start": 0, **options}
        )
        return found

    plain = fit(tmp_path / "a", made(), max_epochs=2, **SHORT)
    watching = fit(tmp_path / "b", made(stopping=RULE), max_epochs=2, **SHORT)
    assert differing(state(plain), state(watching)) == []


def test_two_processes_measure_what_one_does_bit_for_bit(tmp_path: Path) -> None:
    """Each its part of the chunks, of which there may be fewer than processes."""

    def taken(rank: int) -> Tensor:
        found: list[float] = []
        for samples in (8, 24):
            module, probe = ready(1.0)
            with frozen_batchnorm_statistics(module.supernet):
                found += largest(probe_hessian(module, probe_batches(module, probe, samples), shared=True))
        return torch.tensor(found, dtype=torch.float64).nan_to_num(-1)

    alone = taken(0)
    for found in in_two(taken, tmp_path):
        assert torch.equal(found, alone)


def test_a_rule_that_goes_back_measures_as_its_rule_says() -> None:
    rule = RaiseDecay(CurvatureRise(measured_on="last_batch", samples=99))
    assert (rule.measured_on, rule.samples) == ("last_batch", 99)
    assert (RaiseDecay().measured_on, RaiseDecay().samples) == ("probe", 256)


def test_without_a_data_module_it_is_refused() -> None:
    class Other:
        datamodule = None

    module: Any = robust()
    module._trainer = Other()
    with pytest.raises(
        ValueError, match=r"an ImageData, on whose role arch CurvatureRise measures, but got NoneType\."
    ):
        measure(module, 4)
