"""Protects drawings of cells and of α: every label is readable, and the same input gives the same bytes."""

from __future__ import annotations

import random
import subprocess
import sys
import xml.etree.ElementTree as ET
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch
from matplotlib.text import Text
from matplotlib.transforms import Bbox
from tables import check_each

from robustnas.plotting.card import genotype_card
from robustnas.plotting.cell_layout import label_of
from robustnas.plotting.cells import alpha_figure, draw_genotype, genotype_figure, render, save_drawing
from robustnas.spaces import (
    DARTS,
    S1,
    S2,
    CellSpace,
    Choice,
    DARTSSingleCell,
    Genotype,
    Mobile,
    NASBench201,
    SearchSpace,
    darts_like,
)

SKIP, SEP, LONG = "skip_connect", "sep_conv_3x3", "squeeze_and_excite_conv_7x7"
SPACES = [DARTS, S1, NASBench201, DARTSSingleCell, Mobile, darts_like("Mine", ("none", SKIP, LONG))]


def random_genotype(space: SearchSpace, seed: int) -> Genotype:
    draw, cells = random.Random(seed), {}
    for kind, cell in space.cells.items():
        kept = []
        for node in cell.nodes:
            entering = [edge for _, edge in cell.edges_into(node)]
            kept += draw.sample(entering, cell.keep or len(entering))
        names = [draw.choice([name for name in e.operations if name not in cell.never_selected]) for e in kept]
        cells[kind] = tuple(Choice(e.source, e.node, name) for e, name in zip(kept, names, strict=True))
    return Genotype(space.name, cells)


def places(figure: Figure) -> dict[Text, Bbox]:
    """Every text that shows, and where it stands with its frame, in pixels."""
    FigureCanvasAgg(figure).draw()
    shown = [text for text in figure.findobj(Text) if text.get_visible() and text.get_text()]
    return {text: (text.get_bbox_patch() or text).get_window_extent() for text in shown}


def assert_readable(figure: Figure, smallest: float = 9) -> None:
    found = places(figure)
    frame = figure.bbox
    for text, box in found.items():
        assert text.get_fontsize() >= smallest
        assert box.x0 >= frame.x0, text
        assert box.y0 >= frame.y0, text
        assert box.x1 <= frame.x1, text
        assert box.y1 <= frame.y1, text
    for (one, box), (other, other_box) in combinations(found.items(), 2):
        assert Bbox.intersection(box, other_box) is None, (one, other)


def vertical_parts(figure: Figure) -> list[tuple[float, float, float]]:
    parts = []
    for arrow in figure.findobj(FancyArrowPatch):
        outline = arrow.get_transform().transform_path(arrow.get_path())
        for (x0, y0), (x1, y1) in zip(outline.vertices, outline.vertices[1:], strict=False):
            if abs(x0 - x1) < 1e-6 and abs(y0 - y1) > 1e-6:
                parts.append((x0, min(y0, y1), max(y0, y1)))
    return parts


@pytest.mark.parametrize(
    ("space", "seed"), [*((space, 0) for space in SPACES), (DARTS, 1), (S1, 2), (SPACES[-1], 3)], ids=str
)
def test_no_label_is_cut_hidden_or_crossed(space: SearchSpace, seed: int) -> None:
    figure = genotype_figure(random_genotype(space, seed), space)
    assert_readable(figure)
    verticals = vertical_parts(figure)
    assert bool(verticals) == (space is not Mobile)  # a chain has no lanes
    for text, box in places(figure).items():
        if text.get_bbox_patch():  # the label of an edge
            assert not any(box.x0 < x < box.x1 and low < box.y1 and high > box.y0 for x, low, high in verticals), text


def test_every_state_and_operation_is_named() -> None:
    genotype = random_genotype(S1, 0)
    names = [text.get_text() for text in places(genotype_figure(genotype))]
    wanted = [label_of(choice.operation) for choices in genotype.cells.values() for choice in choices]
    wanted += ["Normal cell", "Reduction cell", *[*"012345", "output", "cell k−2", "cell k−1"] * 2]
    assert sorted(names) == sorted(wanted)


def test_a_cell_of_one_input_says_so() -> None:
    names = [text.get_text() for text in places(genotype_figure(random_genotype(NASBench201, 1)))]
    assert {"Cell", "input", "output", "0", "3"} < set(names)


def test_two_operations_on_one_edge_are_both_readable() -> None:
    pairs = [(SEP, 0), (SKIP, 0), (SEP, 2), (SKIP, 2), (SEP, 3), (SKIP, 3), (SEP, 4), (SKIP, 4)]
    assert_readable(genotype_figure(Genotype.from_quark0(pairs, pairs, "S2"), S2))


def test_unknown_spaces_and_markup_in_names_can_be_drawn() -> None:
    genotype = Genotype("Unknown", {"odd": (Choice(0, 1, "$<a>&"), Choice(0, 2, "conv"), Choice(1, 2, "none"))})
    texts = [node.text for node in ET.fromstring(draw_genotype(genotype)).iter() if node.tag.endswith("text")]
    assert {"odd", "$<a>&", "conv", "none"} < set(texts)


def test_svg_is_well_formed_and_holds_text_as_text() -> None:
    document = draw_genotype(random_genotype(DARTS, 0))
    texts = [node.text for node in ET.fromstring(document).iter() if node.tag.endswith("text")]
    assert texts.count("output") == 2
    assert "<dc:date>" not in document


@pytest.mark.parametrize("suffix", ["svg", "png", "dot"])
def test_a_drawing_is_written_with_the_same_bytes_every_time(suffix: str, tmp_path: Path) -> None:
    genotype = random_genotype(DARTS, 2)
    one, other = tmp_path / f"one.{suffix}", tmp_path / f"other.{suffix}"
    save_drawing(genotype, one)
    save_drawing(Genotype.from_json(genotype.to_json()), str(other), DARTS)
    assert one.read_bytes() == other.read_bytes()
    beginning = {"svg": b"<?xml", "png": b"\x89PNG", "dot": b"digraph"}[suffix]
    assert one.read_bytes().startswith(beginning)


def test_a_drawing_depends_on_the_genotype() -> None:
    assert draw_genotype(random_genotype(DARTS, 0)) != draw_genotype(random_genotype(DARTS, 1))


def test_other_suffixes_are_refused_and_nothing_is_written(tmp_path_factory: pytest.TempPathFactory) -> None:
    def check(name: str) -> None:
        tmp_path = tmp_path_factory.mktemp("row")
        with pytest.raises(ValueError, match=r"Expected `path` to end in \.svg, \.png or \.dot, but got '.*cell"):
            save_drawing(random_genotype(DARTS, 0), tmp_path / name)
        assert list(tmp_path.iterdir()) == []

    check_each(["cell", "cell.pdf", "cell.svgz"], check)


def test_a_space_that_is_given_must_fit() -> None:
    with pytest.raises(ValueError, match="Expected `genotype` to be from the space S2, but got one from DARTS"):
        draw_genotype(random_genotype(DARTS, 0), S2)


def mixture(cell: CellSpace) -> torch.Tensor:
    return torch.randn(cell.shape, generator=torch.Generator().manual_seed(1)).softmax(dim=1)


@pytest.mark.parametrize(("space", "kind"), [(s, kind) for s in SPACES for kind in s.cells], ids=str)
def test_heat_maps_are_small_and_readable(space: SearchSpace, kind: str) -> None:
    cell = space.cells[kind]
    figure = alpha_figure(mixture(cell), cell, f"{kind} cell, epoch 12")
    width, height = figure.get_size_inches()
    assert width <= 5
    assert height <= 3
    assert_readable(figure)


def test_a_long_title_is_shortened() -> None:
    cell = S1.cells["normal"]
    figure = alpha_figure(mixture(cell), cell, "The mixture of the normal cell of a run with a very long name")
    assert_readable(figure)
    assert any(text.get_text().startswith("The mixture") and text.get_text().endswith("…") for text in places(figure))


def shown(figure: Figure) -> tuple[list[str], np.ndarray[Any, Any], list[tuple[float, float]]]:
    """Operations from top to bottom, the table of colours' values, and the dots as (edge, row)."""
    axes = figure.axes[0]
    dots = [tuple(float(v[0]) - 0.5 for v in line.get_data()) for line in axes.lines if line.get_marker() == "."]
    values = np.ma.filled(axes.collections[0].get_array(), np.nan)
    return [label.get_text() for label in axes.get_yticklabels()], values, dots  # type: ignore[return-value]


def test_a_heat_map_shows_each_share_where_it_belongs() -> None:
    cell = darts_like("Mine", [("none", SKIP), (SEP, "none", SKIP)] * 7).cells["normal"]
    shares = [[0.9, 0.1, 0.0], [0.2, 0.5, 0.3]] * 7
    names, values, dots = shown(alpha_figure(shares, cell, "mixture"))
    assert names == ["none", "skip", "sep 3×3"]
    assert values.shape == (3, 14)
    np.testing.assert_array_equal(values[:, 0], [0.9, 0.1, np.nan])
    np.testing.assert_array_equal(values[:, 1], [0.5, 0.3, 0.2])
    assert dots == [(edge, 1) for edge in range(14)]  # `none` is never selected


def test_in_nasbench201_none_may_be_the_largest() -> None:
    cell = NASBench201.cells["cell"]
    _, _, dots = shown(alpha_figure([[1.0, 0, 0, 0, 0]] * 6, cell, "mixture"))
    assert dots == [(edge, 0) for edge in range(6)]


@pytest.mark.parametrize("share", [0.0, float("nan")])
def test_degenerate_mixtures_can_be_drawn(share: float) -> None:
    cell = S2.cells["normal"]
    assert render(alpha_figure([[share, share]] * 14, cell, "mixture"), "png").startswith(b"\x89PNG")


def test_heat_maps_have_the_same_bytes_every_time() -> None:
    cell = S1.cells["reduce"]
    for form in ("svg", "png"):
        one, other = (render(alpha_figure(mixture(cell), cell, "mixture"), form) for _ in range(2))  # type: ignore[arg-type]
        assert one == other


def test_shares_must_fit_the_cell() -> None:
    cell = S2.cells["normal"]
    with pytest.raises(ValueError, match="Expected `shares` to have 14 rows, one for each edge, but got 13"):
        alpha_figure([[0.5, 0.5]] * 13, cell, "mixture")
    with pytest.raises(ValueError, match="Expected `shares` to have 2 numbers on edge 0-3, but got 1"):
        alpha_figure([[0.5, 0.5]] * 2 + [[1.0]] * 12, cell, "mixture")


def test_importing_the_module_loads_neither_matplotlib_nor_torch() -> None:
    code = (
        "import sys, robustnas.plotting.cells; print([name for name in ('matplotlib', 'torch') if name in sys.modules])"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"


@pytest.mark.parametrize("space", SPACES, ids=lambda space: space.name)
def test_a_card_of_tensorboard_holds_every_choice_and_is_readable(space: SearchSpace) -> None:
    """At 350 pixels, one to one: 8 points are 11 pixels high."""
    genotype = random_genotype(space, 3)
    figure = genotype_card(genotype, space)
    assert figure.get_figwidth() == 3.5
    assert_readable(figure, smallest=8)
    said = [text.get_text() for text in places(figure)]
    chosen = [label_of(choice.operation) for cell in genotype.cells.values() for choice in cell]
    whole = [label for label in chosen if label in said]
    assert all(said.count(label) == chosen.count(label) for label in whole)
    if space.name != "Mine":  # whose long names are shortened
        assert whole == chosen
    assert render(figure, "png", 100) == render(genotype_card(genotype, space), "png", 100)
