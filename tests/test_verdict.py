"""What a verdict concludes from signs, since when, and which genotype it takes."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from tables import check_each
from verdicts import EPOCHS, HINTS, constant, genotype, search, signs, skips, taken_over

from robustnas.analysis import History, judge, registry
from robustnas.analysis.measures import curvature_rise, measures
from robustnas.analysis.thresholds import Threshold
from robustnas.spaces import DARTS, S1, S3, NASBench201, SearchSpace
from robustnas.strategies import CurvatureRise, Strongest


def test_a_search_without_signs_is_healthy() -> None:
    verdict = judge(search(classes=10))
    assert (verdict.state, verdict.since, verdict.evidence, verdict.remedies) == ("healthy", None, (), ())
    assert verdict.take.epoch is None
    assert verdict.take.genotype == genotype()
    assert verdict.line == "healthy: no sign of collapse up to epoch 19"


def test_one_hint_is_no_risk_and_two_are() -> None:
    one = judge(search({"alpha/saturated": HINTS["alpha/saturated"]}))
    assert (one.state, [e.threshold.name for e in one.evidence]) == ("healthy", ["saturated"])
    assert one.line == "healthy: one hint up to epoch 19: saturated edges, first half 60 % (over 50 %)"
    assert one.take.why == "a single hint does not put a search at risk"
    two = judge(search(HINTS))
    assert two.state == "at risk"
    assert two.since == 12  # the second hint
    assert {e.threshold.name: e.since for e in two.evidence} == {"saturated": 2, "match": 12}
    assert [two.line.count(e.threshold.measure) for e in two.evidence] == [1, 1]


def test_own_signs_of_one_name_keep_their_own_thresholds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "METRICS", dict(registry.METRICS))
    for name, value in (("own/low", 0.1), ("own/high", 0.9), ("own/match", 0.2)):
        sign = Threshold("match" if name == "own/match" else "own", ">", value, "notes", "own", "a test", ())
        registry.register(registry.Metric(name, name, thresholds=(sign,)))
    series = {name: constant(0.5) for name in ("own/low", "own/high", "own/match")}
    found = {e.threshold.series: e.bound for e in judge(search({**HINTS, **series})).evidence}
    assert (found["own/low"], found["own/match"], "own/high" in found) == (0.1, 0.2, False)
    assert found["gradient/match"] == 0.0


def test_notes_do_not_count() -> None:
    verdict = judge(search({"alpha/saturated": HINTS["alpha/saturated"], "shares/none_normal": constant(0.9)}))
    assert (verdict.state, len(verdict.evidence)) == ("healthy", 2)


def test_domination_is_collapse_since_it_began() -> None:
    verdict = judge(search(None, taken_over(since=8)))
    assert (verdict.state, verdict.since, verdict.epoch) == ("collapsed", 8, 19)
    assert verdict.evidence[0].threshold.name == "skip_domination"
    assert (verdict.evidence[0].shown, verdict.evidence[0].limit) == ("7 of 8", "over 4")
    assert verdict.line == "collapsed since epoch 8: skip connections in the genotype 7 of 8 (over 4)"


def test_a_running_search_collapses_at_the_third_epoch_of_domination() -> None:
    history = search(None, taken_over(since=8))
    states = {epoch: judge(history.until(epoch)).state for epoch in range(EPOCHS)}
    assert [epoch for epoch, state in states.items() if state == "collapsed"] == list(range(10, EPOCHS))
    assert states[8] == "healthy"


def test_a_search_that_recovers_is_not_collapsed() -> None:
    genotypes = taken_over(since=8) | {epoch: skips(1) for epoch in range(14, EPOCHS)}
    assert judge(search(None, genotypes)).state == "healthy"


def test_a_search_that_returned_in_time_escaped() -> None:
    genotypes = taken_over(since=8)
    verdict = judge(search(None, genotypes, final=genotypes[5]))
    assert verdict.state == "at risk"
    assert {e.threshold.name: e.weight for e in verdict.evidence}["skip_domination"] == "warns"
    assert (verdict.take.epoch, verdict.take.genotype) == (None, genotypes[5])


def test_a_result_that_is_dominated_is_collapse_whatever_the_epochs_were() -> None:
    verdict = judge(search(None, None, final=skips(6)))
    assert (verdict.state, verdict.since) == ("collapsed", 19)
    assert verdict.evidence[0].value == 6 / 8


def test_accuracy_at_chance_is_collapse_once_alpha_decided() -> None:
    gap = {"gap/supernet_accuracy": constant(0.9), "gap/discrete_accuracy": constant(0.11)}
    assert judge(search(gap, classes=10)).state == "collapsed"
    assert judge(search({**gap, "alpha/entropy": constant(0.92)}, classes=10)).state == "healthy"
    assert judge(search({**gap, "gap/supernet_accuracy": constant(0.19)}, classes=10)).state == "healthy"
    assert judge(search(gap)).state == "healthy"  # chance is not known


def test_the_genotype_to_take_is_from_before_the_signs() -> None:
    genotypes = taken_over(since=8)
    verdict = judge(search(None, genotypes))
    assert {e.threshold.name: e.since for e in verdict.evidence}["many_skips"] == 7
    assert (verdict.take.epoch, verdict.take.genotype) == (6, genotypes[6])


def test_the_genotype_to_take_is_from_before_the_curvature_rose() -> None:
    curvature = {epoch: 1.0 if epoch < 12 else 3.0 for epoch in range(0, EPOCHS, 2)}
    stop = CurvatureRise(start=4).decide(list(curvature), list(curvature.values()))
    assert stop is not None
    verdict = judge(search({"arch/curvature": curvature}, taken_over(since=15)))
    assert verdict.take.epoch == stop.returned == 4


def test_where_every_genotype_is_dominated_the_least_is_taken_with_a_warning() -> None:
    genotypes = {epoch: skips(6 if epoch == 9 else 8) for epoch in range(EPOCHS)}
    take = judge(search(None, genotypes)).take
    assert (take.epoch, take.genotype) == (9, skips(6))
    assert take.why == "in every recorded genotype most of the kept edges are skip connections: search again"


def test_remedies_leave_out_what_the_search_did() -> None:
    genotypes = taken_over()
    plain = [remedy.part for remedy in judge(search(None, genotypes)).remedies]
    assert plain == ["RandomPerturbation", "CurvatureRise", "weight_decay", "AdversarialPerturbation"]
    stopping = {"class_path": "robustnas.strategies.stopping.CurvatureRise", "init_args": {}}
    settings = {"stopping": stopping, "weight_decay": 0.0081}
    used = [remedy.part for remedy in judge(search(None, genotypes, settings=settings)).remedies]
    assert used == ["RandomPerturbation", "AdversarialPerturbation", "PartialChannels", "SkipDominance"]


def test_an_undecided_alpha_is_natural_for_gdas() -> None:
    gdas = {"relaxation": {"class_path": "robustnas.strategies.gumbel_one_hot.GumbelOneHot"}}
    assert signs(search({"alpha/entropy": constant(0.995)})) == {"undecided": "decides"}
    assert signs(search({"alpha/entropy": constant(0.995)}, settings=gdas)) == {}


@pytest.mark.parametrize(("entropy", "state"), [(0.99995, "undecided"), (0.9998, "collapsed")])
def test_an_alpha_at_its_initial_values_decides_nothing(entropy: float, state: str) -> None:
    series = {"alpha/entropy": constant(entropy)}
    assert judge(search(series, taken_over())).state == state
    verdict = judge(search(series, None, final=skips(6)))
    assert (verdict.state, verdict.take.epoch, verdict.take.genotype) == (state, 19, genotype())
    assert judge(search(series, taken_over(), running=True)).state == state


def test_the_end_of_a_search_is_late_whatever_was_planned() -> None:
    stopped = {"gap/accuracy": {5: 0.99}, "ranking/tau": {17: 0.1}}
    assert set(signs(search(stopped, planned=100))) == {"ranking"}
    assert set(signs(search(stopped, planned=100, running=True))) == set()


def test_a_running_search_gives_its_latest_genotype() -> None:
    take = judge(search(running=True)).take
    assert (take.epoch, take.genotype) == (19, genotype())


def test_what_was_not_measured_is_named() -> None:
    assert judge(search()).missing[:2] == ("curvature", "discretisation gap")
    measured = {"curvature/max": constant(1.0), "gap/accuracy": constant(0.0), "gradient/match": constant(1.0)}
    left = judge(search(measured)).missing
    assert left == ("overfitting", "layer alignment", "rank correlation", "α")


def test_curvature_rises_where_the_stopping_rule_says() -> None:
    def check(seed: int) -> None:
        rng = np.random.default_rng(seed)
        values = {epoch: float(v) for epoch, v in zip(range(0, 50, 2), rng.uniform(0.2, 0.5, 25).cumsum(), strict=True)}
        values |= {epoch: value * (1 if seed % 3 else 0.02) + 0.5 for epoch, value in values.items()}
        history = search({"curvature/max": {**values, 49: 1e9}}, {epoch: skips(0) for epoch in range(50)}, planned=50)
        stop = CurvatureRise().decide(list(values), list(values.values()))
        rises = curvature_rise(history, measures(history))
        first = next(((at, to) for at, (ratio, to) in rises.items() if ratio > 1.3), None)
        assert first == (None if stop is None else (stop.detected, stop.returned))
        assert ("curvature_rise" in signs(history)) == (stop is not None)

    check_each(range(20), check)


@pytest.mark.parametrize("epochs", [8, 10, 20, 40, 50, 200])
def test_eight_measurements_show_a_rise_of_the_curvature(epochs: int) -> None:
    """As many as the diagnostic takes at least, evenly apart: doubled between two of them, or flat within 4 %."""
    at = [round(k * (epochs - 1) / 7) for k in range(8)]
    genotypes = {epoch: skips(0) for epoch in range(epochs)}
    for rises in range(3, 7):
        values = {epoch: 2.0 ** max(0, place - rises + 1) for place, epoch in enumerate(at)}
        history = search({"curvature/max": values}, genotypes, planned=epochs)
        found = curvature_rise(history, measures(history))
        first = next((epoch for epoch, (ratio, _) in found.items() if ratio > 1.3), None)
        assert first is not None
        assert at[rises] <= first
        assert "curvature_rise" in signs(history)
    flat = {epoch: 1.0 + 0.04 * (-1) ** place for place, epoch in enumerate(at)}
    assert "curvature_rise" not in signs(search({"curvature/max": flat}, genotypes, planned=epochs))


def test_a_rise_within_the_bound_of_the_curvature_is_no_rise() -> None:
    """What it grew by at least: the earlier average counts at its upper bound."""
    curvature = {epoch: 1.0 if epoch < 12 else 1.6 for epoch in range(0, EPOCHS, 2)}
    for bound, seen in ((1.0, True), (1.05, True), (1.4, False)):
        upper = {epoch: bound * value for epoch, value in curvature.items()}
        for name in ("curvature/max", "arch/curvature"):
            found = signs(search({name: curvature, f"{name}_upper": upper}))
            assert ("curvature_rise" in found) == seen


@pytest.mark.parametrize("space", [DARTS, S1, S3, NASBench201], ids=lambda space: space.name)
def test_alpha_alone_gives_the_genotypes_that_selection_gives(space: SearchSpace) -> None:
    rng = np.random.default_rng(0)
    for _ in range(5):
        alpha = {kind: rng.normal(size=cell.shape) for kind, cell in space.cells.items()}
        history = History(space, {0: alpha})
        strengths = {kind: torch.from_numpy(values).softmax(dim=-1) for kind, values in alpha.items()}
        assert history.genotype(0) == Strongest().genotype(space, strengths)


def test_a_history_of_measures_alone_is_judged() -> None:
    logged = {"genotype/skips_normal": constant(6.0)}
    verdict = judge(History(DARTS, {}, {}, logged, planned=EPOCHS))
    assert (verdict.state, verdict.take.genotype) == ("collapsed", None)


def test_a_history_knows_its_epochs() -> None:
    history = search({"curvature/max": {0: 1.0, 19: 2.0}})
    assert history.epochs == list(range(EPOCHS))
    assert history.finished
    before = history.until(7)
    assert before.epochs == list(range(8))
    assert not before.finished
    assert before.series == {"curvature/max": {0: 1.0}}
    with pytest.raises(ValueError, match=r"^Expected a history to hold at least one finished epoch, but got none\.$"):
        History(DARTS)
