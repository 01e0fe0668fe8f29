"""The series that the verdict computes have the values their definitions give."""

from __future__ import annotations

import numpy as np
import pytest
from verdicts import constant, genotype, search, skips

from robustnas.analysis import History
from robustnas.analysis.architecture_statistics import of_genotype, of_shares, softmax
from robustnas.analysis.measures import by_chance, measures, moving, rise
from robustnas.spaces import DARTS, S1, S2, NASBench201, SearchSpace


def test_means_and_rises() -> None:
    assert moving({0: 1.0, 2: 3.0, 4: 8.0}, 2) == {2: 2.0, 4: 5.5}
    assert moving({0: 1.0}, 2) == {}
    values = {0: 1.0, 5: 2.0, 10: 4.0, 12: 9.0}
    assert rise(values, 10, 1) == {10: 3.0, 12: 8.0}
    assert rise(values, 10, 2) == {}
    assert rise({**values, 15: 1.0}, 10, 2) == {15: 5.0 - 1.5}


def test_skips_are_counted_over_the_kept_edges() -> None:
    found = measures(search(None, {0: skips(2), 1: skips(4), 2: genotype("max_pool_3x3")}))
    assert found["genotype/skip_share"] == {0: 0.25, 1: 0.5, 2: 0.0}
    assert found["genotype/avoidable"] == {0: 0.25, 1: 0.5, 2: 0.125}
    assert found["genotype/changed"] == {1: 2 / 16, 2: 4 / 16}
    assert found["genotype/unchanged"] == {1: 0.0, 2: 0.0}


def test_epochs_without_a_change_are_counted_until_the_first() -> None:
    kinds = [0, 0, 0, 1, 0]
    found = measures(search(None, {epoch + 4: skips(kind) for epoch, kind in enumerate(kinds)}))
    assert found["genotype/unchanged"] == {5: 1.0, 6: 2.0, 7: 0.0, 8: 0.0}


@pytest.mark.parametrize(
    ("space", "skip", "free"),
    [(DARTS, 1 / 7, 3 / 7), (S1, 6 / 14, 5 / 12), (S2, 1 / 2, 1 / 2), (NASBench201, 0.2, 0.6)],
)
def test_what_chance_gives(space: SearchSpace, skip: float, free: float) -> None:
    expected = by_chance(History(space, {}, {}, {"a/b": {0: 1.0}}))
    assert expected == pytest.approx({"genotype/skip_share": skip, "genotype/avoidable": free})


def test_alpha_gives_what_diagnostics_log() -> None:
    rng = np.random.default_rng(0)
    alphas = {epoch: {kind: rng.normal(size=cell.shape) for kind, cell in DARTS.cells.items()} for epoch in (0, 3)}
    found = measures(History(DARTS, alphas))
    for epoch, alpha in alphas.items():
        for name, value in of_shares(DARTS, softmax(DARTS, alpha)).items():
            assert found[name][epoch] == value
    assert found["alpha/moved"] == {3: max(np.abs(alphas[3][kind] - alphas[0][kind]).max() for kind in DARTS.cells)}
    skip = found["shares/skip_connect_normal"][3]
    assert found["shares/skip_excess"][3] == pytest.approx((skip - 1 / 8) / (1 - 1 / 8))
    assert found["shares/most_none"][3] == max(found["shares/none_normal"][3], found["shares/none_reduce"][3])


def test_what_was_logged_goes_before_what_is_computed() -> None:
    logged = {"genotype/skips_normal": {0: 5.0}, "shares/skip_connect_normal": {0: 0.5}}
    history = search(logged, {0: skips(1)})
    assert of_genotype(DARTS, skips(1))["genotype/skips_normal"] == 1
    found = measures(history)
    assert found["genotype/skips_normal"] == {0: 5.0}
    assert found["shares/skip_excess"] == {0: pytest.approx(0.375 / 0.875)}


def test_gaps_count_above_chance() -> None:
    series = {
        "gap/supernet_accuracy": {0: 0.9, 1: 0.19, 2: 0.9},
        "gap/discrete_accuracy": {0: 0.5, 1: 0.1, 2: 0.1},
        "alpha/entropy": {2: 0.95},
        "val/accuracy": constant(0.5),
        "train/accuracy": constant(0.6),
        "gradient/alignment_normal": {0: 0.5},
        "gradient/alignment_reduce": {0: -0.5, 1: 0.25},
    }
    found = measures(search(series, classes=10))
    assert found["gap/lost"] == pytest.approx({0: 0.5, 2: 1.0})
    assert found["gap/over_chance"] == pytest.approx({0: 5.0})
    assert found["generalisation/accuracy"] == pytest.approx(constant(0.1))
    assert found["gradient/alignment"] == {0: -0.5, 1: 0.25}
    assert "gap/lost" not in measures(search(series))
