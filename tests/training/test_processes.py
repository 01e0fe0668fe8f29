"""Several processes hold one state, bit for bit, and average what they should."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import torch.distributed as dist
from pytorch_lightning.strategies import StrategyRegistry
from ranks import in_two
from runs import digits, fit, rows
from torch import nn

from robustnas.curvature import Hessian
from robustnas.data import Batch, Probe
from robustnas.networks import Mixture
from robustnas.strategies import AdversarialPerturbation, StepContext
from robustnas.strategies.perturbation import Mixtures
from robustnas.training.lightning.flat_strategy import FlatStrategy
from robustnas.training.processes import Averaged, average, average_buffers, broadcast

HERE = Path(__file__).resolve()


def run(folder: Path, gradient: str, epochs: int, mode: str = "flat", *checkpoint: Path) -> list[dict[str, Any]]:
    """What each of two processes is left with after a search."""
    folder.mkdir(exist_ok=True)
    paths = os.pathsep.join(map(str, (HERE.parents[2], HERE.parents[1], HERE.parent)))
    command = [sys.executable, HERE.with_name("worker.py"), folder, gradient, epochs, mode, *checkpoint]
    done = subprocess.run(
        list(map(str, command)),
        env={**os.environ, "PYTHONPATH": paths, "OMP_NUM_THREADS": "1"},
        cwd=folder,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return [torch.load(folder / f"rank{rank}.pt", weights_only=True) for rank in range(2)]


def differing(one: dict[str, Any], other: dict[str, Any]) -> list[str]:
    assert one["state"].keys() == other["state"].keys()
    return [name for name, value in one["state"].items() if not torch.equal(value, other["state"][name])]


@pytest.mark.slow
def test_two_processes_hold_one_state(tmp_path) -> None:
    """Second order with drop path: α, weights, running statistics and the states of both optimisers."""
    first, second = run(tmp_path, "Unrolled", 2)
    assert differing(first, second) == []
    assert any("momentum_buffer" in name for name in first["state"])
    assert any("exp_avg" in name for name in first["state"])
    assert any("running_mean" in name for name in first["state"])
    assert first["rows"] == second["rows"]
    assert [row["step"] for row in first["rows"]] == [3, 6]
    assert (tmp_path / "metrics.csv").read_text().count("\n") == 3  # written by one of them


@pytest.mark.slow
@pytest.mark.parametrize("gradient", ["FirstOrder", "UnrolledByDifferences"])
def test_two_processes_resume_as_if_not_interrupted(tmp_path, gradient: str) -> None:
    whole = run(tmp_path / "whole", gradient, 3)
    assert differing(*whole) == []
    for step in (2, 4):  # inside epochs of three steps
        resumed = run(tmp_path / f"from {step}", gradient, 3, "flat", tmp_path / f"whole/step={step}.ckpt")
        assert differing(*resumed) == []
        assert differing(resumed[0], whole[0]) == []
        for found, expected in zip(resumed[0]["rows"], whole[0]["rows"], strict=True):
            assert found == pytest.approx(expected, rel=1e-6)  # sums in another order


@pytest.mark.slow
def test_two_processes_take_the_same_decisions_on_all_samples(tmp_path) -> None:
    first, second = run(tmp_path, "FirstOrder", 1, "select")
    assert differing(first, second) == []
    assert len(first["decided"]) == 6
    assert first["decided"] == second["decided"]
    resumed = run(tmp_path / "from 8", "FirstOrder", 1, "select", tmp_path / "step=8.ckpt")
    assert differing(resumed[0], first) == []
    assert resumed[1]["decided"] == first["decided"]


@pytest.mark.slow
@pytest.mark.parametrize("gradient", ["FirstOrder", "Unrolled"])
def test_two_processes_that_are_watched_go_where_they_would_go_alone(tmp_path, gradient: str) -> None:
    """Only the first one measures, and never waits for the other in a measure."""
    alone = run(tmp_path / "alone", gradient, 2)
    first, second = run(tmp_path / "watched", gradient, 2, "watched")
    assert differing(first, second) == []
    assert differing(first, alone[0]) == []
    for watched, plain in zip(first["rows"], alone[0]["rows"], strict=True):
        assert {name: watched[name] for name in plain} == plain
        assert {"curvature/max", "gap/loss", "gradient/implicit_share", "genotype/flops"} <= set(watched)
        assert {"generalisation/loss", "diagnostics/share"} <= set(watched)
    assert (tmp_path / "watched/curves.png").is_file()


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["apart", "alone"])
def test_processes_without_broadcast_or_averages_are_stopped(tmp_path, mode: str) -> None:
    """As their α differ, and by nothing else that the worker does."""
    with pytest.raises(AssertionError, match=r"to hold the same `alphas\.cell`, bit for bit, but got"):
        run(tmp_path, "FirstOrder", 1, mode)
    assert not list(tmp_path.glob("*.pt"))


@pytest.mark.slow
def test_a_loss_that_is_not_a_number_on_the_second_process_stops_both(tmp_path) -> None:
    with pytest.raises(AssertionError, match=r"Expected a finite .*, but got one that is not at step 2 \(epoch 0\)"):
        run(tmp_path, "FirstOrder", 2, "nan")
    assert [path.name for path in tmp_path.glob("*step*")] == ["step=2.ckpt"]
    assert not list(tmp_path.glob("rank*.pt"))


def test_average_is_the_mean_of_each_tensor_in_one_collective_for_each_type(tmp_path) -> None:
    def drawn(rank: int) -> list[torch.Tensor]:
        generator = torch.Generator().manual_seed(rank)
        shapes: list[tuple[tuple[int, ...], torch.dtype]] = [
            ((2, 3), torch.float32), ((), torch.float64), ((4,), torch.float32), ((0, 2), torch.float32),
            ((3, 1), torch.float64),
        ]  # fmt: skip
        return [torch.randn(shape, dtype=dtype, generator=generator) for shape, dtype in shapes]

    def averaged(rank: int) -> Any:
        calls = []
        reduce = dist.all_reduce
        dist.all_reduce = lambda tensor, *args: (calls.append(tensor.dtype), reduce(tensor, *args))[1]
        tensors = drawn(rank)
        return average(tensors), tensors, len(calls)

    found = in_two(averaged, tmp_path)
    for rank, (means, kept, calls) in enumerate(found):
        assert calls == 2
        for mean, one, other in zip(means, *map(drawn, range(2)), strict=True):
            assert torch.equal(mean, (one + other) / 2)
            assert mean.dtype == one.dtype
        assert all(torch.equal(a, b) for a, b in zip(kept, drawn(rank), strict=True))  # what is averaged stays


def test_broadcast_gives_what_the_first_process_holds_in_one_collective_for_each_type(tmp_path) -> None:
    def drawn(rank: int) -> list[torch.Tensor]:
        generator = torch.Generator().manual_seed(rank)
        floats = torch.randn(2, 3, generator=generator).t(), torch.randn((), generator=generator), torch.zeros(0, 2)
        return [*floats, torch.arange(4) + 10 * rank, torch.randn(5, generator=generator).double()]

    def given(rank: int) -> Any:
        calls = []
        tell = dist.broadcast
        dist.broadcast = lambda tensor, *args: (calls.append(tensor.dtype), tell(tensor, *args))[1]
        tensors = drawn(rank)
        broadcast(tensors)
        return tensors, len(calls)

    for tensors, calls in in_two(given, tmp_path):
        assert calls == 3
        assert all(torch.equal(a, b) for a, b in zip(tensors, drawn(0), strict=True))


def test_average_of_a_tensor_that_is_not_contiguous(tmp_path) -> None:
    found = in_two(lambda rank: average([torch.arange(6.0).view(2, 3).t() + rank])[0].contiguous(), tmp_path)
    assert all(torch.equal(mean, torch.arange(6.0).view(2, 3).t() + 0.5) for mean in found)


def test_buffers_are_averaged_and_counters_left(tmp_path) -> None:
    def normalised(rank: int) -> dict[str, torch.Tensor]:
        norm = nn.BatchNorm2d(3)
        for k in range(rank + 1):
            norm(torch.full((2, 3, 2, 2), float(k + 1)))
        average_buffers(norm)
        return dict(norm.named_buffers())

    first, second = in_two(normalised, tmp_path)
    assert torch.equal(first["running_mean"], second["running_mean"])
    torch.testing.assert_close(first["running_mean"], torch.full((3,), (0.1 + (0.1 * 0.9 + 0.2)) / 2))
    assert [int(buffers["num_batches_tracked"]) for buffers in (first, second)] == [1, 2]


def test_an_attack_on_two_processes_is_that_on_both_batches(tmp_path) -> None:
    """Whichever starts, and although one batch alone leads elsewhere."""
    targets = [torch.randn(6, 5, generator=torch.Generator().manual_seed(rank)) for rank in range(2)]

    def attacked(*ranks: int) -> torch.Tensor:
        def loss_at(mixtures: Mixtures) -> torch.Tensor:
            return torch.stack([(mixtures["cell"].operations - targets[rank]).square().mean() for rank in ranks]).mean()

        context = StepContext("weights", 0, 1, torch.Generator().manual_seed(0))
        clean = {"cell": Mixture(torch.full((6, 5), 0.2))}
        return AdversarialPerturbation().perturb(clean, loss_at, context, average)["cell"].operations

    first, second = in_two(attacked, tmp_path)
    assert torch.equal(first, second)
    torch.testing.assert_close(first, attacked(0, 1))
    assert (attacked(0) - first).abs().max() > 0.01


def test_the_eigenvalue_of_two_processes_is_that_of_the_mean_of_their_matrices(tmp_path) -> None:
    """Which is smaller than the mean of their eigenvalues."""

    def hessian(*ranks: int) -> Hessian:
        halves = [torch.randn(6, 6, generator=torch.Generator().manual_seed(rank)).double() for rank in ranks]
        matrix = torch.stack([half + half.T for half in halves]).mean(0)
        point = torch.zeros(6, dtype=torch.float64, requires_grad=True)
        return Hessian(point @ matrix @ point / 2, [point])

    def value(operator: Any) -> torch.Tensor:
        return torch.tensor(operator.dominant_eigenvalue(), dtype=torch.float64)

    first, second = in_two(lambda rank: value(Averaged(hessian(rank))), tmp_path)
    assert torch.equal(first, second)
    torch.testing.assert_close(first, value(hessian(0, 1)), rtol=1e-6, atol=0)
    assert first < (value(hessian(0)) + value(hessian(1))) / 2 - 0.1


def test_a_probe_sees_the_whole_role_on_every_process(tmp_path) -> None:
    """Where training and validation see a share."""

    def seen(rank: int) -> Any:
        data = digits()
        data.trainer = SimpleNamespace(global_rank=rank, world_size=2)
        batches = list(Probe(data, torch.device("cpu")).all("selection"))
        own = sum(len(batch.targets) for batch in data.loader("selection"))
        return torch.cat([batch.images for batch in batches]), torch.cat([batch.targets for batch in batches]), own

    data = digits()
    expected = data.role("selection")
    found = in_two(seen, tmp_path)
    for images, targets, own in found:
        assert torch.equal(targets, expected.targets)
        assert torch.equal(images, data.prepare(Batch(expected.pixels, targets, 0), augment=False).images)
        assert 0 < own < len(targets)
    assert sum(own for *_, own in found) == len(expected.targets)


def test_a_run_with_a_progress_bar_ends(tmp_path) -> None:
    """The first process alone has the bar, whose numbers the others must help to compute in the order of all."""

    def ended(rank: int) -> list[float]:
        data = digits(batch_size=8)
        running = fit(tmp_path / "run", data=data, devices=2, strategy="flat", enable_progress_bar=True)
        return [row["step"] for row in rows(running)]

    assert in_two(ended, tmp_path) == [[5]] * 2


def test_one_process_averages_nothing() -> None:
    tensors = [torch.ones(2), torch.zeros(())]
    assert all(a is b for a, b in zip(average(tensors), tensors, strict=True))


def test_averaged_buffers_of_one_process_stay() -> None:
    norm = nn.BatchNorm2d(3)
    norm(torch.randn(4, 3, 2, 2))
    before = [buffer.clone() for buffer in norm.buffers()]
    average_buffers(norm)
    assert all(torch.equal(a, b) for a, b in zip(before, norm.buffers(), strict=True))


def test_the_strategy_is_known_by_its_name() -> None:
    assert StrategyRegistry["flat"]["strategy"] is FlatStrategy
