"""No state of a verdict is contradicted by a figure under it, over random searches."""

from __future__ import annotations

import json

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from robustnas.analysis import History, Verdict, judge
from robustnas.analysis.measures import by_chance, degeneracy, measures
from robustnas.analysis.registry import thresholds
from robustnas.analysis.thresholds import STATES
from robustnas.spaces import DARTS, S4, Genotype, NASBench201, strongest

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
