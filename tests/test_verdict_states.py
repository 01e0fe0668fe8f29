"""The states of a verdict: what puts a search into each, which one counts, and that no figure contradicts it."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from verdicts import EPOCHS, constant, genotype, search, signs, skips

from robustnas.__main__ import main
from robustnas.analysis import History, Verdict, judge
from robustnas.analysis.chance import constant_answer, margin, near
from robustnas.analysis.measures import by_chance, degeneracy, measures
from robustnas.analysis.registry import thresholds
from robustnas.analysis.step_noise import margin_over_noise
from robustnas.analysis.thresholds import STATES
from robustnas.runs.record import Run, write_text
from robustnas.spaces import DARTS, S4, Genotype, MobileSmall, NASBench201, SearchSpace, strongest

Alphas = dict[int, dict[str, np.ndarray]]
POOR = {"val/top1": constant(0.1)}
UNIFORM = {"alpha/entropy": constant(0.995)}
DEAD = genotype(*["nor_conv_3x3"] * 3, *["none"] * 3, space="NASBench201")


# --- a supernet that did not learn -----------------------------------------------------------------------------------


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


# --- an α that has not decided ---------------------------------------------------------------------------------------


def test_an_undecided_search_says_so_in_a_sentence() -> None:
    verdict = judge(search(UNIFORM))
    assert verdict.line == (
        "undecided: α is still almost uniform (normalised entropy of α 0.995 after 20 epochs, over 0.99), so the "
        "genotype is close to a random one"
    )
    assert verdict.text().startswith("undecided\n")
    assert {"LargestDrop, one shot", "BestOfSampled", "arch_lr"} <= {remedy.part for remedy in verdict.remedies}


def test_a_search_that_began_is_not_called_undecided() -> None:
    states = [judge(search(UNIFORM, running=True, planned=50).until(epoch)).state for epoch in range(EPOCHS)]
    assert states == ["healthy"] * 9 + ["undecided"] * 11  # from 20 % of the plan on


def walks(steps: np.ndarray) -> Alphas:
    """α of NAS-Bench-201 as shares whose first operation leads the second by the sum of steps, ``[epochs, edges]``."""
    lead = steps.cumsum(axis=0)
    alphas = {}
    for epoch, row in enumerate(lead):
        shares = np.full((6, 5), 0.1)
        shares[:, 1], shares[:, 3] = 0.35 + row / 2, 0.35 - row / 2
        alphas[epoch] = {"cell": shares}
    return alphas


def ratio(alphas: Alphas) -> dict[int, float]:
    genotypes = {epoch: strongest(NASBench201, shares) for epoch, shares in alphas.items()}
    return margin_over_noise(NASBench201, alphas, genotypes)


def test_the_noise_of_a_margin_is_that_of_its_last_steps() -> None:
    steps = np.random.default_rng(1).normal(0.002, 0.01, size=(30, 6))
    found = ratio(walks(steps))
    assert min(found) == 4
    lead = steps.cumsum(axis=0)
    for epoch in (4, 12, 29):
        last = steps[max(1, epoch - 9) : epoch + 1]
        by_hand = np.median(np.abs(lead[epoch]) / (last.std(axis=0, ddof=1) * math.sqrt(5)))
        assert found[epoch] == pytest.approx(by_hand)


def test_a_margin_of_one_is_turned_by_noise_in_a_third_of_cases() -> None:
    """Steps without a direction turn a margin of s sqrt(5) within 5 epochs with probability 2 (1 - Φ(1))."""
    rng = np.random.default_rng(0)
    walk = math.sqrt(5 / 200) * rng.normal(size=(20_000, 200)).cumsum(axis=1)  # 5 epochs in fine steps
    assert (walk.min(axis=1) < -math.sqrt(5)).mean() == pytest.approx(2 * (1 - 0.8413), abs=0.03)


def test_margins_within_the_noise_of_steps_are_undecided() -> None:
    noise = np.diff(np.random.default_rng(0).normal(0, 0.02, size=(EPOCHS + 1, 6)), axis=0)
    wandering = History(NASBench201, walks(noise), planned=EPOCHS)
    assert signs(wandering)["within_noise"] == "decides"
    assert judge(wandering).state == "undecided"
    steady = History(NASBench201, walks(0.015 + noise / 100), planned=EPOCHS)
    assert "within_noise" not in signs(steady)


def test_margins_count_where_operations_are_sampled() -> None:
    gdas = {"relaxation": {"class_path": "robustnas.strategies.gumbel_one_hot.GumbelOneHot"}}
    series = {**UNIFORM, "alpha/margin_noise": constant(0.5)}
    assert signs(search(series, settings=gdas)) == {"within_noise": "decides"}


def test_a_margin_without_noise_is_decided_unless_it_is_none() -> None:
    assert set(ratio(walks(np.zeros((8, 6)))).values()) == {0.0}
    still = np.zeros((8, 6))
    still[0] = 0.2
    assert set(ratio(walks(still)).values()) == {1e9}


# --- genotypes that carry nothing ------------------------------------------------------------------------------------


def test_a_disconnected_genotype_is_collapse_and_never_taken_in_silence() -> None:
    sound = genotype(space="NASBench201")
    verdict = judge(search(None, {epoch: sound if epoch < 8 else DEAD for epoch in range(EPOCHS)}, "NASBench201"))
    assert verdict.state == "collapsed"
    assert verdict.line == "collapsed since epoch 8: edges on a path from input to output 0 of 6 (at most 0)"
    assert (verdict.take.epoch, verdict.take.genotype) == (7, sound)
    assert verdict.remedies
    every = judge(search(None, dict.fromkeys(range(EPOCHS), DEAD), "NASBench201"))
    assert every.take.why == (
        "in every recorded genotype no path of kept operations leads from the input to the output: search again"
    )


def test_a_disconnected_genotype_of_an_unfinished_alpha_warns() -> None:
    early = search(None, dict.fromkeys(range(EPOCHS), DEAD), "NASBench201", running=True)
    assert signs(early.until(2))["disconnected"] == "warns"
    assert signs(early.until(5))["disconnected"] == "decides"
    first = judge(early.until(1))
    assert (first.state, first.take.why.endswith("to the output: wait for the next epochs")) == ("healthy", True)
    at_start = search({"alpha/entropy": constant(0.99995)}, dict.fromkeys(range(EPOCHS), DEAD), "NASBench201")
    assert signs(at_start)["disconnected"] == "warns"
    assert judge(at_start).state == "undecided"
    assert "no path of kept operations" in judge(at_start).take.why


def test_what_is_taken_from_a_search_at_chance_is_from_before() -> None:
    discrete = {epoch: 0.5 if epoch < 15 else 0.1 for epoch in range(EPOCHS)}
    gap = {"gap/supernet_accuracy": constant(0.9), "gap/discrete_accuracy": discrete}
    verdict = judge(search(gap, classes=10))
    assert verdict.state == "collapsed"
    assert verdict.take.epoch == 14
    always = judge(search({**gap, "gap/discrete_accuracy": constant(0.1)}, classes=10))
    assert always.take.why.endswith("but the discretised supernet is hardly better than guessing: search again")


def test_mostly_parameter_free_is_a_remark_with_a_count() -> None:
    verdict = judge(search(None, dict.fromkeys(range(EPOCHS), genotype(*["max_pool_3x3"] * 6))))
    assert verdict.state == "healthy"
    (remark,) = (e for e in verdict.evidence if e.threshold.name == "mostly_parameter_free")
    assert (remark.weight, remark.shown, remark.limit) == ("notes", "6 of 8", "over 4")


# --- which state counts, and for how little --------------------------------------------------------------------------


def test_the_state_that_says_most_counts_and_the_others_are_listed() -> None:
    dominated = dict.fromkeys(range(EPOCHS), skips(7))
    both = judge(search({**POOR, **UNIFORM}, dominated, classes=10))
    assert both.state == "did not learn"
    assert [e.threshold.name for e in both.evidence[:3]] == ["did_not_learn", "skip_domination", "undecided"]
    assert judge(search(UNIFORM, dominated)).state == "collapsed"
    assert judge(search({**UNIFORM, "ranking/tau": {19: 0.0}, "gradient/match": constant(-1.0)})).state == "undecided"
    assert STATES == ("healthy", "at risk", "undecided", "collapsed", "did not learn")


def test_a_hint_that_was_measured_once_counts_in_a_finished_search() -> None:
    once = {"gap/supernet_accuracy": {19: 0.9}, "gap/discrete_accuracy": {19: 0.3}}
    assert signs(search(once, classes=10)) == {"gap": "hints"}
    assert signs(search(once, classes=10, running=True)) == {}
    twice = {"gap/supernet_accuracy": {18: 0.9, 19: 0.9}, "gap/discrete_accuracy": {18: 0.8, 19: 0.3}}
    assert signs(search(twice, classes=10)) == {}


def test_remedies_are_given_whenever_there_is_a_sign() -> None:
    verdict = judge(search({"gradient/match": constant(-0.1)}))
    assert (verdict.state, [e.weight for e in verdict.evidence]) == ("healthy", ["hints"])
    assert verdict.remedies


def test_a_run_of_one_epoch_or_none_is_judged_in_clear_words(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    verdict = judge(search(None, {0: genotype()}))
    assert verdict.line == "healthy: no sign of collapse up to epoch 0"
    uniform = judge(search({"alpha/entropy": {0: 0.999}}, {0: genotype()}, planned=1))
    assert "(normalised entropy of α 0.999 after 1 epoch, over 0.99)" in uniform.line
    empty = tmp_path / "run"
    Run(empty).write_manifest({"epochs": 5})
    assert main(["diagnose", str(empty)]) == 1
    assert "a run that has not finished an epoch of a search" in capsys.readouterr().err


@pytest.mark.parametrize("space", [S4, MobileSmall], ids=lambda space: space.name)
def test_a_space_without_skips_is_judged(space: SearchSpace) -> None:
    rng = np.random.default_rng(0)
    base = {kind: rng.normal(size=cell.shape) for kind, cell in space.cells.items()}
    alphas = {epoch: {kind: a * (1 + epoch / 10) for kind, a in base.items()} for epoch in range(EPOCHS)}
    history = History(space, alphas, planned=EPOCHS, final=strongest(space, base))
    verdict = judge(history)
    assert verdict.take.genotype == history.final
    assert not {"skip_domination", "many_skips"} & set(signs(history))
    json.loads(verdict.to_json())


# --- no state is contradicted by a figure under it -------------------------------------------------------------------

SHARE = st.floats(0, 1, allow_nan=False)
SERIES = {
    "val/top1": SHARE,
    "train/top1": SHARE,
    "gap/supernet_accuracy": SHARE,
    "gap/discrete_accuracy": SHARE,
    "alpha/saturated": SHARE,
    "curvature/max": st.floats(0, 10),
    "gradient/match": st.floats(-1, 1),
    "ranking/tau": st.floats(-1, 1),
}


@st.composite
def histories(draw: st.DrawFn) -> History:
    """Searches of three spaces with random α that drift or wander, random measures, finished or not."""
    space = draw(st.sampled_from([DARTS, NASBench201, S4]))
    epochs, planned = draw(st.integers(1, 12)), draw(st.none() | st.integers(12, 60))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    drift, noise = draw(st.sampled_from([0.0, 0.01, 0.3, 3.0])), draw(st.sampled_from([0.0, 0.001, 0.1, 1.0]))
    base = {kind: rng.normal(size=cell.shape) for kind, cell in space.cells.items()}
    alphas = {
        epoch: {kind: drift * epoch * a + noise * rng.normal(size=a.shape) for kind, a in base.items()}
        for epoch in range(epochs)
    }
    names = draw(st.sets(st.sampled_from(sorted(SERIES))))
    series = {name: {epoch: draw(SERIES[name]) for epoch in range(epochs)} for name in sorted(names)}
    final = strongest(space, alphas[epochs - 1]) if draw(st.booleans()) else None
    known = draw(st.sampled_from([(None, None, None), (10, None, None), (2, 0.9, 100), (10, 0.19, 25_000)]))
    classes, share, samples = known
    return History(
        space, alphas, {}, series, planned=planned, final=final, classes=classes, constant=share, samples=samples
    )


def contradictions(history: History, verdict: Verdict) -> list[str]:
    """What is wrong with a verdict, by figures computed anew from the history."""
    found, end, weights = measures(history), history.epochs[-1], [e.weight for e in verdict.evidence]
    states = {e.threshold.state for e in verdict.evidence if e.weight == "decides"}
    judged = history.finished or history.progress(end) >= 0.5
    last = {name: values[max(values)] for name, values in found.items()}
    wrong = []
    if verdict.state == "healthy":
        wrong += ["a weighty sign"] * bool({"decides", "warns"} & set(weights) or weights.count("hints") > 1)
        wrong += ["uniform"] * (judged and end >= 2 and last["alpha/entropy"] > 0.995 and history.finished)
        bound = by_chance(history).get("val/top1")
        wrong += ["chance"] * (history.finished and bound is not None and last.get("val/top1", 1.0) <= bound)
        values = degeneracy(history, history.final) if history.final else {}
        wrong += ["disconnected"] * (values.get("genotype/live") == 0 or values.get("genotype/live_parametric") == 0)
    elif verdict.state == "at risk":
        wrong += ["no sign"] * ("warns" not in weights and weights.count("hints") < 2) + ["decided"] * bool(states)
    else:
        wrong += ["another state"] * (verdict.state != max(states, key=STATES.index))
    wrong += ["no remedy"] * (bool(set(weights) - {"notes"}) and not verdict.remedies)
    wrong += ["since"] * ((verdict.since is None) != (verdict.state == "healthy"))
    silent = not verdict.take.why.endswith((": search again", ": wait for the next epochs"))
    if verdict.take.genotype is not None and silent:
        values, chance = degeneracy(history, verdict.take.genotype), by_chance(history)
        condemned = [
            row.name
            for row in thresholds()
            if row.weight == "decides" and row.series in values
            and row.passes(values[row.series], row.bound(chance.get(row.series, 0.0)))
        ]  # fmt: skip
        wrong += [f"takes what is {name}" for name in condemned]
    return wrong


@settings(max_examples=150, deadline=None, derandomize=True)
@given(histories())
def test_no_state_is_contradicted_by_its_figures(history: History) -> None:
    verdict = judge(history)
    assert contradictions(history, verdict) == []
    data = json.loads(verdict.to_json())
    assert data["state"] in STATES
    assert verdict.text().startswith(verdict.state)
    assert max(map(len, verdict.text().splitlines())) <= 80
    taken = data["take"]["genotype"]
    assert taken is None or Genotype.from_json(json.dumps(taken)) == verdict.take.genotype
