"""Charts of the report: axes, curves, films, and the words beside them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from pages import Page
from verdicts import skips

from robustnas.reports.charts import Line, chart, film, nice, tick_labels
from robustnas.reports.markup import Markup, duration, tag, text
from robustnas.reports.page import short_names
from robustnas.reports.panels import place
from robustnas.reports.pictures import spread, stretches
from robustnas.spaces import DARTS


def test_names_are_as_short_as_tells_runs_apart() -> None:
    def names(*paths: str) -> list[str]:
        return short_names([Path(path) for path in paths])

    assert names("/a/b") == ["b"]
    assert names("/a/b", "/a/c") == ["b", "c"]
    assert names("/x/a/b", "/y/a/b") == ["x/a/b", "y/a/b"]
    assert names("/a/b", "/a/b", "/a/c") == ["b", "b (2)", "c"]


@pytest.mark.parametrize(
    ("low", "high"),
    [(0, 1), (4.99982, 4.99991), (1e-9, 3e-7), (-123456, 3e6), (0, 0), (5, 5), (1e99, 1.5e99), (-2, -2)],
)
def test_ticks_enclose_the_values_and_read_differently(low: float, high: float) -> None:
    ticks = nice(low, high, 4)
    assert ticks[0] <= low + 1e-9 * abs(low)
    assert ticks[-1] >= high - 1e-9 * abs(high)
    assert 2 <= len(ticks) <= 8
    assert len(set(tick_labels(ticks))) == len(ticks)
    assert [float(label) for label in tick_labels(ticks)] == pytest.approx(ticks, rel=1e-3, abs=1e-3 * (high - low))


def test_a_curve_goes_through_its_points() -> None:
    drawn = Page(chart("T", [Line("a", {0: 0.0, 2: 1.0, 4: 0.5}), Line("b", {}), Line("c", {2: 1.0})], (0, 4)))
    paths = [given for given in drawn.named("path") if "line" in (given["class"] or "")]
    assert [given["class"] for given in paths] == ["line c0", "line c2"]  # the empty one leaves its colour free
    points = [tuple(map(float, pair.split())) for pair in (paths[0]["d"] or "")[1:].split("L")]
    assert points[1][0] - points[0][0] == pytest.approx(points[2][0] - points[1][0], abs=0.2)
    assert points[0][1] - points[2][1] == pytest.approx((points[0][1] - points[1][1]) / 2, abs=0.2)
    assert chart("T", [Line("a", {})], (0, 4)) == ""


def test_what_a_value_may_be_is_a_whisker_within_the_chart() -> None:
    drawn = Page(chart("T", [Line("a", {0: 1.0, 2: 1.0}, bands={2: (0.5, 9.0)}), Line("b", {0: 1.0})], (0, 2)))
    (whisker,) = [given for given in drawn.named("path") if "whiskers" in (given["class"] or "")]
    across, low, high = (whisker["d"] or "")[1:].replace("V", " ").split()
    curve = next(given["d"] or "" for given in drawn.named("path") if (given["class"] or "").startswith("line"))
    assert curve.endswith(f"L{across} {curve.split()[-1]}")
    assert 0 < float(high) < float(curve.split()[-1]) < float(low) < 190


def test_a_frame_shows_the_share_and_marks_what_can_be_selected() -> None:
    cell = DARTS.cells["normal"]
    shares = np.full(cell.shape, 0.0)
    shares[:, 0], shares[:, 3] = 0.6, 0.4  # `none` is never selected
    drawn = Page(film({7: shares}, cell, "normal"))
    (svg,) = drawn.named("svg")
    assert (svg["aria-label"] or "").startswith("normal, epoch 7. Largest: 0-2 skip_connect, 1-2 skip_connect")
    shades = {given["class"]: (given["d"] or "").count("M") for given in drawn.named("path")}
    assert (shades["s16"], shades["s11"], shades["s0"], shades["best"]) == (14, 14, 84, 14)


def test_series_of_one_measure_share_a_chart() -> None:
    assert place("genotype/skips_normal", DARTS) == ("genotype/skips", "normal")
    assert place("shares/skip_connect_reduce", DARTS) == ("Shares, reduce", "skip_connect")
    assert place("shares/parameter_free_reduce", DARTS) == ("shares/parameter_free", "reduce")
    assert place("shares/none", DARTS) == ("Shares, all cells", "none")
    assert place("gradient/match_sep_conv_3x3", DARTS) == ("gradient/match", "sep_conv_3x3")
    assert place("diagnostics/seconds_Curvature", DARTS) == ("diagnostics/seconds", "Curvature")
    assert place("train/top5", DARTS) == ("top5", "training")
    assert place("mine/own", DARTS) == ("mine/own", "own")


def test_genotypes_are_told_once_as_long_as_they_stay() -> None:
    assert stretches({0: skips(1), 1: skips(1), 2: skips(2), 3: skips(1)}) == [
        (0, 1, skips(1)), (2, 2, skips(2)), (3, 3, skips(1)),
    ]  # fmt: skip
    assert spread(range(3), 8) == [0, 1, 2]
    assert spread(range(50), 8) == [0, 7, 14, 21, 28, 35, 42, 49]


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(0.04, "0.0 s"), (59.9, "59.9 s"), (63, "1 min 03 s"), (3600, "1 h 00 min"), (86399, "24 h 00 min")],
)
def test_times_read_well(seconds: float, said: str) -> None:
    assert duration(seconds) == said


def test_text_is_escaped_once() -> None:
    assert text("a<b>&\"'") == "a&lt;b&gt;&amp;&quot;&#x27;"
    assert text(Markup("<b>")) == "<b>"
    assert tag("td", "<", tag("i", "&"), class_='"', data_x=None) == '<td class="&quot;">&lt;<i>&amp;</i></td>'
    assert text("a\x00\ud800b") == "a\N{REPLACEMENT CHARACTER}?b"
