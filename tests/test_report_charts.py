"""Charts of the report: axes, curves, heat maps, and the words beside them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from pages import Page
from verdicts import skips

from robustnas.plotting.charts import Chart, Point, Series, nice, tick_labels
from robustnas.reports.page import short_names
from robustnas.reports.panels import place
from robustnas.reports.rendering import Cell, Table, duration, environment, printable
from robustnas.reports.sections import spread, stretches
from robustnas.reports.svg import Drawing, Text, draw, heat_maps
from robustnas.spaces import DARTS


def macro(name: str, *given: object) -> str:
    return str(getattr(environment().get_template("macros.html.j2").module, name)(*given))


def drawn(*drawings: Drawing) -> Page:
    page = Page(macro("charts", drawings))
    assert page.faults == []
    return page


def line(label: str, values: dict[float, float], intervals: dict[float, tuple[float, float]] | None = None) -> Series:
    return Series(label, [Point(x, y, (intervals or {}).get(x)) for x, y in values.items()])


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


def test_no_label_of_the_x_axis_leaves_the_picture() -> None:
    chart = Chart("T", [line("a", {1.2e5: 0.0, 5e5: 1.0})], x_title="flops")
    (drawing,) = draw(chart)
    labels = [one for one in drawing.shapes if isinstance(one, Text) and one.anchor == "middle" and not one.css]
    assert [one.text for one in labels] == tick_labels(nice(1.2e5, 5e5, 4))
    assert all(one.x + 3 * len(str(one.text)) <= drawing.size[0] for one in labels)


def test_a_curve_goes_through_its_points() -> None:
    chart = Chart("T", [line("a", {0: 0.0, 2: 1.0, 4: 0.5}), line("b", {}), line("c", {2: 1.0})], span=(0, 4))
    paths = [given for given in drawn(*draw(chart)).named("path") if "line" in (given["class"] or "")]
    assert [given["class"] for given in paths] == ["line c0"]  # a single point is none
    points = [tuple(map(float, pair.split())) for pair in (paths[0]["d"] or "")[1:].split("L")]
    assert points[1][0] - points[0][0] == pytest.approx(points[2][0] - points[1][0], abs=0.2)
    assert points[0][1] - points[2][1] == pytest.approx((points[0][1] - points[1][1]) / 2, abs=0.2)
    assert draw(Chart("T", [line("a", {})])) == []


def test_a_single_point_is_a_marker_with_its_value_in_the_colour_of_its_place() -> None:
    chart = Chart("T", [line("a", {0: 0.0, 4: 0.5}), line("b", {}), line("c", {4: 0.25})], span=(0, 4))
    page = drawn(*draw(chart))
    marks = [given["class"] for given in page.named("path") if (given["class"] or "").startswith("dots")]
    assert marks == ["dots c0", "dots big c2"]  # the empty one leaves its colour free
    assert "0.25" in page.texts["text"]
    (svg,) = page.named("svg")
    assert svg["aria-label"] == "T: a from 0 in epoch 0 to 0.5 in epoch 4; c 0.25 in epoch 4"


def test_sixteen_lines_differ_by_colour_or_style() -> None:
    many = [line(f"{number}", {0: 0.0, 1: float(number)}) for number in range(16)]
    page = drawn(*draw(Chart("T", many)))
    looks = [given["class"] for given in page.named("path") if (given["class"] or "").startswith("line")]
    assert len(set(looks)) == 16
    assert looks[:5] == ["line c0", "line c1", "line c2", "line c3", "line c4 s1"]
    outlines = {(given["d"] or "").count("l") for given in page.named("path") if "dots" in (given["class"] or "")}
    assert outlines == {0, 2 * 3, 2 * 1}  # circles and squares, diamonds, triangles


def test_an_error_bound_is_a_bar_within_the_chart() -> None:
    chart = Chart("T", [line("a", {0: 1.0, 2: 1.0}, {2: (0.5, 9.0)}), line("b", {0: 1.0})])
    page = drawn(*draw(chart))
    (whisker,) = [given for given in page.named("path") if "whiskers" in (given["class"] or "")]
    across, low, high = (whisker["d"] or "")[1:].replace("V", " ").split()
    curve = next(given["d"] or "" for given in page.named("path") if (given["class"] or "").startswith("line"))
    assert curve.endswith(f"L{across} {curve.split()[-1]}")
    assert 0 < float(high) < float(curve.split()[-1]) < float(low) < 190


def test_thresholds_are_drawn_where_the_axis_reaches_them() -> None:
    values = line("a", {0: 0.0, 1: 1.0})
    page = drawn(*draw(Chart("T", [values], thresholds={"> 0.5": 0.5, "> 7": 7.0})))
    assert [given["class"] for given in page.named("path") if "threshold" in (given["class"] or "")] == ["threshold"]
    assert "> 0.5" in page.texts["text"]
    assert "> 7" not in page.texts["text"]


def test_an_axis_over_two_decades_is_logarithmic_and_says_so_by_its_ticks() -> None:
    points = [Point(x, 1.0, note=f"at {x}") for x in (0.1, 1.0, 100.0)]
    page = drawn(*draw(Chart("T", [Series("a", points, joined=False)], "seconds", "accuracy")))
    assert [said for said in page.texts["text"] if said in ("0.1", "1", "10", "100")] == ["0.1", "1", "10", "100"]
    assert page.texts["title"] == ["at 0.1", "at 1.0", "at 100.0"]
    (svg,) = page.named("svg")
    assert svg["aria-label"] == "T: 3 points, seconds from 0.1 to 100, accuracy from 1 to 1"


def test_a_heat_map_shows_the_weights_and_marks_what_can_be_selected() -> None:
    cell = DARTS.cells["normal"]
    shares = np.full(cell.shape, 0.0)
    shares[:, 0], shares[:, 3] = 0.6, 0.4  # `none` is never selected
    caption, maps = heat_maps({7: shares}, cell, "normal")
    assert "the darkest 0.60" in caption
    page = drawn(*maps)
    (svg,) = page.named("svg")
    assert (svg["aria-label"] or "").startswith("normal, epoch 7. Largest: 0-2 skip_connect, 1-2 skip_connect")
    shades = {given.get("opacity"): (given["d"] or "").count("M") for given in page.named("path")
        if given["class"] == "shade"}  # fmt: skip
    assert shades == {None: 14, "0.6875": 14}  # darkest, and 11 of 16
    assert next(given["d"] for given in page.named("path") if given["class"] == "best").count("M") == 14  # type: ignore[union-attr]


def test_series_of_one_metric_share_a_chart() -> None:
    number, free = place("genotype/skips_normal", DARTS), place("shares/parameter_free_reduce", DARTS)
    assert number == ("Number of skip connections in the genotype, by kind of cell", "normal")
    assert free == ("Share of operations without parameters, by kind of cell", "reduce")
    assert place("shares/skip_connect_reduce", DARTS) == ("Shares of operations, reduce", "skip_connect")
    assert place("shares/none", DARTS) == ("Shares of operations, all cells", "none")
    assert place("gradient/match_sep_conv_3x3", DARTS)[1] == "sep_conv_3x3"
    assert place("train/top5", DARTS) == ("Top-5 accuracy", "training")
    assert place("mine/own", DARTS) == ("mine/own", "own")
    assert place("mine/own_reduce", DARTS) == ("mine/own, by kind of cell", "reduce")


def test_a_genotype_is_listed_once_as_long_as_it_stays() -> None:
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


def test_text_is_escaped_once_in_every_kind_of_cell() -> None:
    hostile = "a<b>&\"'"
    kinds = [Cell(hostile, kind, hostile) for kind in ("badge", "link", "code", "mark", "words")]
    page = Page(macro("table", Table(hostile, [hostile], [[hostile, *kinds, [kinds[0], kinds[1]], None]])))
    assert page.faults == []
    assert page.texts["td"] == [hostile] * 5 + [f"{hostile}, {hostile}", "–"]
    assert page.texts["th"] == [hostile] * 2
    assert {name for name, _ in page.elements} == {
        "div", "table", "caption", "thead", "tbody", "tr", "th", "td", "strong", "a", "code", "mark", "span",
    }  # fmt: skip
    mapping = {"kind": "link", "text": "x", "extra": "javascript:alert(1)"}
    assert "<a " not in macro("cell", mapping) + macro("cell", [mapping]) + macro("facts", [("x", mapping)])
    assert printable("a\x00\ud800b") == "a\N{REPLACEMENT CHARACTER}?b"
