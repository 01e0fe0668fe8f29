"""A search is a function of its seed, and stopping it anywhere changes nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from pytorch_lightning.callbacks import ModelCheckpoint
from robustnas.variants import DARTS
from runs import StopAfter, differing, digits, fit, rows, search, state

from robustnas.data import Digits
from robustnas.strategies import RandomPerturbation, Unrolled
from robustnas.training.description import load
from robustnas.training.search import SearchModule


def few(**options: Any) -> Digits:
    """Three batches of weights in an epoch and two of α, which are cycled."""
    return digits(fractions=(0.04, 0.03, 0.03), **options)


def test_the_same_seed_gives_the_same_search_bit_for_bit(tmp_path) -> None:
    torch.manual_seed(1)
    first = fit(tmp_path / "a", data=few())
    torch.manual_seed(2)  # the state of the process does not matter
    second = fit(tmp_path / "b", data=few())
    assert differing(state(first), state(second)) == []
    assert rows(first) == rows(second)
    genotypes = [(tmp_path / name / "genotype.json").read_bytes() for name in "ab"]
    assert genotypes[0] == genotypes[1]


def test_another_seed_gives_another_search(tmp_path) -> None:
    first = fit(tmp_path / "a", data=few())
    other = fit(tmp_path / "b", search(seed=1), data=few())
    names = differing(state(first), state(other))
    assert {"alphas.cell", "supernet.body.classifier.weight"} <= set(names)
    shuffled = fit(tmp_path / "c", data=few(seed=1))  # the seed of the data alone
    assert "alphas.cell" in differing(state(first), state(shuffled))


def test_building_a_search_leaves_the_global_random_state_alone() -> None:
    before = torch.get_rng_state()
    first, second = search(seed=3), search(seed=3)
    assert torch.equal(torch.get_rng_state(), before)
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), second.parameters(), strict=True))


SEARCHES = {
    "two kinds of cell": ("S2", {"channels": 2}),
    "plain": ("NASBench201", {}),
    "second order, drop path": ("NASBench201", {"gradient": Unrolled(), "drop_path": 0.3}),
    "random mixtures, drop path": ("NASBench201", {"perturbation": RandomPerturbation(), "drop_path": 0.3}),
    "weights first, Nesterov": ("NASBench201", {"step_order": "weights_first", "nesterov": True}),
}
PLAIN = "plain"
DRAWING = "random mixtures, drop path"
LONGER = sorted(set(SEARCHES) - {PLAIN, DRAWING})


def interrupted(folder: Path, name: str, step: int, **when: Any) -> Path:
    """The last checkpoint of a run that was stopped before its step ``step``."""
    space, options = SEARCHES[name]
    saver = ModelCheckpoint(folder, "last", enable_version_counter=False, **when)
    with pytest.raises(RuntimeError, match="killed"):
        fit(folder, search(space, **options), max_epochs=3, callbacks=[saver, StopAfter(step)], data=few())
    return folder / "last.ckpt"


@pytest.mark.parametrize("name", [DRAWING, *(pytest.param(n, marks=pytest.mark.slow) for n in LONGER)])
def test_a_resumed_search_is_the_undisturbed_one_bit_for_bit(tmp_path, name: str) -> None:
    space, options = SEARCHES[name]
    whole = fit(tmp_path / "whole", search(space, **options), max_epochs=3, data=few())
    assert whole.global_step == 9
    expected, expected_rows = state(whole), rows(whole)
    checkpoints = {
        "after an epoch": interrupted(tmp_path / "epoch", name, 4, save_on_train_epoch_end=True),
        "inside an epoch": interrupted(tmp_path / "step", name, 7, every_n_train_steps=5),
    }
    for where, path in checkpoints.items():
        resumed = fit(path.parent, search(space, **options), path, max_epochs=3, data=few())
        assert resumed.global_step == 9
        assert differing(state(resumed), expected) == [], where
        assert rows(resumed) == expected_rows, where
        for file in ("genotype.json", "genotypes/epoch_0002.json"):
            assert (path.parent / file).read_text() == (tmp_path / "whole" / file).read_text(), (where, file)


def test_the_comparison_sees_a_resumed_search_that_differs(tmp_path) -> None:
    """Without the momentum buffers the result is another one."""
    expected = state(fit(tmp_path / "whole", max_epochs=3, data=few()))
    path = interrupted(tmp_path / "epoch", PLAIN, 4, save_on_train_epoch_end=True)
    checkpoint = torch.load(path, weights_only=True)
    for held in checkpoint["optimizer_states"][0]["state"].values():
        held["momentum_buffer"].zero_()
    torch.save(checkpoint, path)
    resumed = fit(tmp_path / "epoch", None, path, max_epochs=3, data=few())
    assert {"alphas.cell", "supernet.body.classifier.weight"} <= set(differing(state(resumed), expected))


@pytest.mark.parametrize("gradient", [None, Unrolled()], ids=["first order", "second order"])
def test_a_checkpoint_holds_what_it_takes_to_build_the_search(tmp_path, gradient: Unrolled | None) -> None:
    options = {} if gradient is None else {"gradient": gradient}
    module = search("S2", channels=2, arch_betas=(0.4, 0.99), seed=7, **options)
    running = fit(tmp_path, module, data=few())
    running.save_checkpoint(tmp_path / "search.ckpt")
    torch.load(tmp_path / "search.ckpt", weights_only=True)  # executes nothing
    for restored in (
        load(tmp_path / "search.ckpt", SearchModule),
        DARTS.load_from_checkpoint(tmp_path / "search.ckpt"),
    ):
        assert type(restored) is DARTS
        assert restored.description == module.description
        assert restored.gradient == module.gradient
        assert restored.arch_betas == (0.4, 0.99)
        assert restored.genotype() == module.genotype()
        found, expected = restored.state_dict(), module.state_dict()
        assert found.keys() == expected.keys()
        assert all(torch.equal(found[name], expected[name]) for name in expected)
        images = torch.randn(4, 1, 8, 8)
        assert torch.equal(restored.eval()(images), module.eval()(images))


def test_resuming_on_other_data_is_refused(tmp_path) -> None:
    path = interrupted(tmp_path, PLAIN, 4, save_on_train_epoch_end=True)
    with pytest.raises(ValueError, match="Expected the roles to be those of the checkpoint"):
        fit(tmp_path, None, path, max_epochs=3, data=few(split_seed=1))
