"""Every method on two processes: one state, bit for bit, and that of one process with the doubled batch."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest
import torch
from methods import METHODS, numbers, search, without_norms
from ranks import in_two
from torch import Tensor

from robustnas import variants

Numbers = dict[str, dict[str, Tensor]]
STATELESS = {"RandomSharing", "GAEA", "GAEA, pruned", "PCDARTS, GAEA"}  # their α has no moments


def as_trained(folder: Path, methods: list[str], rank: int) -> Numbers:
    """With BatchNorm, in single precision, and with noise of each process where a method allows it."""
    paths = {name: 0.2 for name in methods if not name.startswith("SmoothDARTS")}
    found = {}
    for name in methods:
        running = search(name, folder / name, batch_size=8, devices=2, drop_path=paths.get(name, 0.0))
        genotype = str(running.lightning_module.genotype())
        found[name] = {**numbers(running), "genotype": torch.tensor(list(genotype.encode()))}
    return found


def exact(folder: Path, methods: list[str], epochs: dict[str, int], devices: int, rank: int) -> Numbers:
    """Without BatchNorm, in double precision, without noise of a process."""
    without_norms()
    torch.set_default_dtype(torch.float64)
    options = {"batch_size": 16 // devices, "devices": devices, "precision": "64-true", **epochs}
    return {name: numbers(search(name, folder / f"{name} {devices}", **options)) for name in methods}


def check_one_state(methods: list[str], folder: Path) -> None:
    first, second = in_two(partial(as_trained, folder, methods), folder / "ranks")
    for name in methods:
        assert first[name].keys() == second[name].keys()
        assert [key for key, one in first[name].items() if not torch.equal(one, second[name][key])] == [], name
        held = " ".join(first[name])
        parts = {"alphas", "exp_avg", "momentum_buffer", "running_mean", "conv"}
        assert {part for part in parts if part not in held} == ({"exp_avg"} if name in STATELESS else set())
        assert first[name]["steps"] >= (10 if "stopped" in name else 20)


def check_doubled_batch(methods: list[str], folder: Path, **epochs: int) -> None:
    halves = in_two(partial(exact, folder, methods, epochs, 2), folder / "two")
    (whole,) = in_two(partial(exact, folder, methods, epochs, 1), folder / "one", count=1)
    for name in methods:
        for half in halves:
            assert half[name].keys() == whole[name].keys()
            for key, value in whole[name].items():
                atol = 1e-12 * max(1.0, float(value.double().abs().max())) if value.numel() else 0.0
                torch.testing.assert_close(half[name][key], value, rtol=0, atol=atol, msg=f"{name}: {key}")


def test_two_processes_hold_one_state(tmp_path) -> None:
    check_one_state(["ProxylessNAS", "DARTS, sampled by α"], tmp_path)


def test_two_processes_are_one_with_the_doubled_batch(tmp_path) -> None:
    check_doubled_batch(["DARTS, second order"], tmp_path, max_epochs=2)


def test_every_variant_is_a_method() -> None:
    assert {name for name, _ in METHODS.values()} == set(variants.__all__)


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_two_processes_hold_one_state_in_every_method(tmp_path) -> None:
    check_one_state(list(METHODS), tmp_path)


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_two_processes_are_one_with_the_doubled_batch_in_every_method(tmp_path) -> None:
    check_doubled_batch(list(METHODS), tmp_path)
