"""The states of a verdict: undecided searches, genotypes that carry nothing, and which state counts."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
from verdicts import EPOCHS, POOR, UNIFORM, constant, genotype, search, signs, skips

from robustnas.__main__ import main
from robustnas.analysis import History, judge
from robustnas.analysis.step_noise import margin_over_noise
from robustnas.analysis.thresholds import STATES
from robustnas.runs.record import Run
from robustnas.spaces import S4, DARTSSingleCellWithoutSkip, MobileSmall, NASBench201, SearchSpace, strongest

Alphas = dict[int, dict[str, np.ndarray]]
DEAD = genotype(*["nor_conv_3x3"] * 3, *["none"] * 3, space="NASBench201")


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


@pytest.mark.parametrize("space", [S4, MobileSmall, DARTSSingleCellWithoutSkip], ids=lambda space: space.name)
def test_a_space_without_skips_is_judged(space: SearchSpace) -> None:
    rng = np.random.default_rng(0)
    base = {kind: rng.normal(size=cell.shape) for kind, cell in space.cells.items()}
    alphas = {epoch: {kind: a * (1 + epoch / 10) for kind, a in base.items()} for epoch in range(EPOCHS)}
    history = History(space, alphas, planned=EPOCHS, final=strongest(space, base))
    verdict = judge(history)
    assert verdict.take.genotype == history.final
    assert not {"skip_domination", "many_skips"} & set(signs(history))
    json.loads(verdict.to_json())
