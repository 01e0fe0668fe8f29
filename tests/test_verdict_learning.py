"""A search whose supernet answers no better than a constant did not learn, by the shares of the classes."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from verdicts import POOR, constant, search, skips

from robustnas.analysis import History, judge
from robustnas.analysis.chance import constant_answer, margin, near
from robustnas.runs.record import Run, write_text


def test_near_chance_is_twice_it_with_ten_classes_and_less_than_all_with_two() -> None:
    assert near(0.1) == pytest.approx(0.2)
    assert near(0.01) == pytest.approx(0.02)
    assert near(0.5) == pytest.approx(0.5 + 0.5 / 9)
    assert near(0.9) == pytest.approx(0.9 + 0.1 / 9)
    assert margin(0.1) == pytest.approx(0.1)


@pytest.mark.parametrize(("constant", "samples"), [(0.1, 50), (0.5, 40), (0.7, 100), (0.1, 25_000)])
def test_few_samples_widen_what_is_near_chance(constant: float, samples: int) -> None:
    """A constant answer is above it less often than a normal deviate is above 3, up to the steps of a count."""
    rng = np.random.default_rng(0)
    accuracies = rng.binomial(samples, constant, 200_000) / samples
    assert (accuracies > near(constant, samples)).mean() < 0.004
    assert near(constant, samples) >= near(constant)
    error = math.sqrt(constant * (1 - constant) / samples)
    assert near(constant, samples) == pytest.approx(constant + max(margin(constant), 3 * error))


@pytest.mark.parametrize(
    ("counts", "known"),
    [
        ({"a": 30, "b": 10}, (0.75, 40)),
        ({"a": 5, "b": 5, "c": 0}, (0.5, 10)),
        ({"a": 3}, None),
        ({}, None),
        (None, None),
        ({"a": 0, "b": 0}, None),
        ({"a": 7, "b": 0}, None),
        ({"a": -1, "b": 3}, None),
        ({"a": True, "b": 3}, None),
        ({"a": "x", "b": 3}, None),
    ],
)
def test_the_constant_answer_is_the_largest_class(counts: object, known: tuple[float, int] | None) -> None:
    assert constant_answer(counts) == known


def recorded(folder: Path, accuracy: float, counts: dict[str, int], task: str = "classification") -> Path:
    """The folder of a finished search without any other sign, whose supernet stays at an accuracy."""
    run = Run(folder)
    data = {"task": task, "classes": list(counts), "roles": {"selection": {"class_counts": counts}}}
    run.write_manifest({"epochs": 12, "data": data, "module": {"init_args": {"space": "S2"}}})
    for epoch in range(12):
        run.write_genotype(skips(int(epoch == 3), "S2"), epoch)
    write_text(folder / "metrics.csv", "epoch,val/top1\n" + "".join(f"{epoch},{accuracy}\n" for epoch in range(12)))
    run.write_genotype(skips(0, "S2"))
    return folder


@pytest.mark.parametrize(
    ("counts", "accuracy", "state"),
    [
        ({str(digit): 100 for digit in range(10)}, 0.19, "did not learn"),
        ({str(digit): 100 for digit in range(10)}, 0.21, "healthy"),
        ({"1": 280, **{str(digit): 80 for digit in range(2, 11)}}, 0.28, "did not learn"),  # always the first class
        ({"1": 280, **{str(digit): 80 for digit in range(2, 11)}}, 0.37, "healthy"),
        ({"sick": 90, "well": 910}, 0.91, "did not learn"),
        ({"sick": 90, "well": 910}, 0.96, "healthy"),
    ],
)
def test_a_constant_answer_is_seen_from_the_shares_of_the_classes(
    counts: dict[str, int], accuracy: float, state: str, tmp_path: Path
) -> None:
    history = History.of_run(recorded(tmp_path / "run", accuracy, counts))
    assert (history.constant, history.samples) == constant_answer(counts)
    assert judge(history).state == state


def test_a_task_that_is_no_classification_has_no_chance(tmp_path: Path) -> None:
    history = History.of_run(recorded(tmp_path / "run", 0.1, {"a": 5, "b": 5}, "multilabel"))
    assert (history.classes, history.chance) == (None, None)
    assert judge(history).state == "healthy"


def test_a_history_of_svhn_at_the_share_of_its_largest_class_did_not_learn() -> None:
    """The accuracy of recorded searches on S3 whose supernet always answers the digit 1; shares are not known there."""
    verdict = judge(search({"val/top1": constant(0.1900134)}, classes=10))
    assert verdict.state == "did not learn"
    assert verdict.line == (
        "did not learn: the supernet is hardly better than a constant answer (top-1 accuracy of the supernet 19 % "
        "after 20 epochs, at most 20 %), so α follows noise"
    )
    assert [remedy.part for remedy in verdict.remedies] == ["lr", "epochs"]
    assert verdict.take.why == "it is no better than a random one: search again"
    strong = judge(search(POOR, classes=10, settings={"weight_decay": 0.2187}))
    assert [remedy.part for remedy in strong.remedies] == ["weaker_decay", "lr", "epochs"]


def test_chance_that_is_not_known_decides_nothing() -> None:
    assert judge(search(POOR)).state == "healthy"
