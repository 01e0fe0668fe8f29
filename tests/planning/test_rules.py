"""The rules by which runs are sized, one by one."""

from __future__ import annotations

import argparse

import pytest
from tables import check_each

from robustnas.planning import rules
from robustnas.planning.durations import seconds_of
from robustnas.spaces.space import SKELETONS

BATCHES = {  # images and largest batch: batch
    (50_000, 96): 96, (576, 96): 96, (575, 96): 64, (50_000, 256): 256, (1438, 256): 128, (1000, 64): 64, (216, 64): 32,
    (100, 64): 16, (50, 64): 8, (5, 64): 5,
}  # fmt: skip
STEPS = {  # own step size, least, batch, that of the recipe: step size
    (0.025, 0.0, 96, 96): 0.025, (0.025, 0.0, 64, 96): 0.0167, (0.025, 0.001, 32, 64): 0.0125, (0.1, 0.0, 128, 64): 0.1,
    (0.025, 0.001, 1, 64): 0.001,
}  # fmt: skip
STEPS_OF_ALPHA = {  # own step and steps: chosen step
    (3e-4, 19_500): 3e-4, (3e-4, 195_000): 3e-4, (3e-4, 160): 0.037, (3e-4, 600): 0.0097, (3e-4, 20): 0.05,
    (0.1, 20): 0.1, (6e-4, 0): 0.05,
}  # fmt: skip
DURATIONS = {"90s": 90, "30m": 1800, "2h": 7200, "1h30m": 5400, "1.5h": 5400, "45min": 2700, "1h 5s": 3605}
REFUSED = {"soon": "a duration", "30": "a duration", "-5m": "a duration", "": "a duration", "m": "a duration",
    "0s": "longer than no time", "5m2h": "a duration"}  # fmt: skip


def test_a_batch_leaves_an_epoch_enough_steps() -> None:
    assert {case: rules.batch_for(*case) for case in BATCHES} == BATCHES
    for samples in range(1, 5000, 7):
        batch = rules.batch_for(samples, 64)
        assert batch in (min(8, samples), 16, 32, 64)
        assert batch <= 8 or samples // batch >= rules.MIN_STEPS


def test_the_step_size_is_in_proportion_to_a_smaller_batch() -> None:
    assert {case: rules.lr_for(*case) for case in STEPS} == STEPS


def test_a_search_on_few_images_has_15_epochs_or_160_steps() -> None:
    assert {steps: rules.short_epochs(steps) for steps in (1, 6, 10, 11, 50)} == {1: 160, 6: 27, 10: 16, 11: 15, 50: 15}


def test_alpha_can_move_as_far_in_few_steps_as_in_many() -> None:
    assert {case: rules.arch_lr_for(*case) for case in STEPS_OF_ALPHA} == STEPS_OF_ALPHA


def test_small_images_get_no_deep_network_and_large_ones_a_stem_that_divides() -> None:
    assert [size.depth for size in rules.sizes_for(rules.EVALUATION, "darts", 8)] == [5, 8]
    assert [size.depth for size in rules.sizes_for(rules.EVALUATION, "darts", 32)] == [5, 8, 11, 14, 20]
    assert [size.depth for size in rules.sizes_for(rules.EVALUATION, "nasbench201", 16)] == [1, 1, 3]
    assert [rules.stem_for("darts", side) for side in (8, 127, 128, 224)] == ["cifar", "cifar", "imagenet", "imagenet"]
    assert rules.stem_for("nasbench201", 224) is None
    assert rules.last_map("darts", 224) == 7
    assert rules.last_map("nasbench201", 224) == 56


def test_sizes_rise_and_every_skeleton_permits_them() -> None:
    for kind in (rules.EVALUATION, rules.SEARCH):
        for name, sizes in {**kind.sizes, "mobile": kind.other}.items():
            assert [(size.channels, size.depth or 1) for size in sizes] == sorted(
                (size.channels, size.depth or 1) for size in sizes
            )
            assert SKELETONS[name].depth is not None or all(size.depth is None for size in sizes)
            assert all(size.depth is None or size.depth >= SKELETONS[name].least_depth for size in sizes)


def test_durations_are_read_or_refused_in_a_sentence() -> None:
    assert {text: seconds_of(text) for text in DURATIONS} == DURATIONS

    def check(text: str) -> None:
        with pytest.raises(
            argparse.ArgumentTypeError, match=f"Expected `--budget` to be {REFUSED[text]}.*got '{text}'"
        ):
            seconds_of(text)

    check_each(REFUSED, check)
