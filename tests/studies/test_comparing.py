"""What the report of a study compares with what, on scores whose answer is known, and the tables for a paper."""

from __future__ import annotations

import json
import math
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from made_studies import VARIANTS, page_of, study_cells, write_study

from robustnas.reports.study.analysis import best_differs, family, leaderboard, ranking, reference_of, shown_p
from robustnas.reports.study.study_data import RANDOM, Entry, Score, StudyData
from robustnas.reports.study.tables import latex, latex_tables, markdown, markdown_tables


def test_accuracies_are_shown_in_percent_once() -> None:
    assert Score("test/top1").shown(0.9437) == Score("truth/accuracy").shown(94.37) == "94.37"
    assert Score("truth/accuracy").shown(-0.5, sign=True) == "−0.50"
    assert Score("test/loss", False).shown(0.12345) == "0.1235"
    assert [Score(name).said for name in ("val/top1", "test/r2")] == ["val/top1, %", "test/r2"]


def test_latex_and_markdown_are_escaped() -> None:
    assert latex("a_b & 5 % {x} \\y ~ ^ # $") == (
        r"a\_b \& 5 \% \{x\} \textbackslash{}y \textasciitilde{} \textasciicircum{} \# \$"
    )
    assert latex("λ ± −1\n2") == r"$\lambda$ $\pm$ $-$1 2"
    assert markdown("a|b\n*c* <d> [e]") == r"a\|b \*c\* &lt;d&gt; \[e\]"


def test_who_is_compared_with_whom(tmp_path: Path) -> None:
    """DARTS where it is; else the first; in designs the whole, or the base; seeds that only one has are left out."""
    found = {"A": [3.0, 5.0, 4.0, 9.0], "darts": [1.0, 2.0, 2.0, 4.0], RANDOM: [2.0, 2.0, 2.0, 2.0]}
    study = StudyData.read(
        write_study(tmp_path / "s", study_cells(("A", "darts"), (None,), range(4)),
            score=lambda cell, rng: found[cell.variant][cell.seed],
            finished=lambda cell: cell.key != "darts/seed-3")
    )  # fmt: skip
    reference = reference_of(study)
    assert reference == Entry("darts")
    held = family(study, (None, None), reference)
    result = held.comparisons[Entry("A")].result
    assert (result.n, result.difference, result.wins) == (3, pytest.approx((2 + 3 + 2) / 3), 3)
    assert result.permutation == pytest.approx(2 / 8)
    assert held.comparisons[Entry("A")].adjusted == pytest.approx(2 * 2 / 8)  # of two, Holm
    assert held.seeds_needed == 7  # 2 ** (1 - n) * 2 <= 0.05
    assert held.power is not None
    assert held.power.deviation == pytest.approx(100 * math.sqrt((1 / 3 + 1 / 3) / 2))
    assert held.power.n == 3
    first = leaderboard(study, (None, None))
    assert [row.entry.variant for row in first] == ["A", RANDOM, "darts"]
    assert first[2].summary.missing == 1
    assert first[0].gain is not None
    assert first[0].gain.value == pytest.approx(100 * (5.25 / 2 - 1))
    assert first[1].gain is None
    only = StudyData.read(write_study(tmp_path / "t", study_cells(("B", "A"), (None,), [0])))
    assert reference_of(only) == Entry("B")


def test_the_best_is_bold_only_where_it_differs_from_the_next(tmp_path: Path) -> None:
    def clear(cell: Any, rng: np.random.Generator) -> float:
        return {"DARTS": 0.5, "GDAS": 0.7}.get(cell.variant, 0.4) + 0.001 * rng.random()

    few = StudyData.read(write_study(tmp_path / "few", study_cells(("DARTS", "GDAS"), (None,), range(5)), clear))
    many = StudyData.read(write_study(tmp_path / "many", study_cells(("DARTS", "GDAS"), (None,), range(8)), clear))
    assert [best_differs(one, (None, None), leaderboard(one, (None, None))) for one in (few, many)] == [False, True]
    assert "**" not in markdown_tables(few, [])
    assert "Nothing is bold" in markdown_tables(few, [])
    assert re.search(r"\| GDAS \| \*\*70\.\d\d ± 0\.\d\d\*\* \|", markdown_tables(many, []))
    assert re.search(r"GDAS & \\textbf\{70\.\d\d \$\\pm\$ 0\.\d\d\} &", latex_tables(many))
    assert "\\toprule" in latex_tables(many)


def test_an_interval_of_accuracies_ends_at_0_and_100_percent(tmp_path: Path) -> None:
    """In the tables as on the page; that of a score without a unit is not cut."""
    found = {"high": (0.90, 1.00), "low": (0.00, 0.10), "within": (0.50, 0.51), RANDOM: (0.4, 0.4)}
    root = write_study(tmp_path / "s", study_cells(("high", "low", "within"), (None,), [0, 1]),
        lambda cell, rng: found[cell.variant][cell.seed])  # fmt: skip
    study, page = StudyData.read(root), page_of(root).all
    half = 12.706204736 * 0.005  # Student's t with 1 degree of freedom
    cells = ("95.00 [31.47, 100.00]", "5.00 [0.00, 68.53]", f"50.50 ± {100 * half:.2f}")
    assert [name for name in cells if f"{name} &" in latex_tables(study).replace(r"$\pm$", "±")] == list(cells)
    assert [name for name in cells if f"| {name} |" in markdown_tables(study, []).replace("\\", "")] == list(cells)
    assert "31.47 to 100.00" in page
    assert "0.00 to 68.53" in page
    for path in root.rglob("result.json"):
        held = json.loads(path.read_text(encoding="utf-8"))
        held["score"] |= {"name": "test/loss"}
        path.write_text(json.dumps(held), encoding="utf-8")
    assert "0.9500 ± 0.6353" in markdown_tables(StudyData.read(root), [])


def test_lower_is_better_is_turned_round(tmp_path: Path) -> None:
    root = write_study(tmp_path / "s", study_cells(("A", "B"), ("x", "y"), [0, 1]))
    for path in root.rglob("result.json"):
        held = json.loads(path.read_text(encoding="utf-8"))
        value = {"A": 0.2, "B": 0.1, RANDOM: 0.5}[held["trial"]["variant"]] + 0.01 * held["trial"]["seed"]
        held["score"] = {"name": "test/loss", "value": value, "higher_is_better": False}
        path.write_text(json.dumps(held), encoding="utf-8")
    study = StudyData.read(root)
    task = study.tasks[0]
    assert study.metric(task) == Score("test/loss", False)
    rows = leaderboard(study, task)
    assert [row.entry.variant for row in rows] == ["B", "A", RANDOM]
    assert rows[0].summary.best.value == pytest.approx(0.1)
    assert all(row.gain is None for row in rows)
    ranks, _, _ = ranking(study)
    assert ranks is not None
    assert list(ranks.ranks) == ["B", "A", RANDOM]
    assert "better than A in 2 of 2 seeds" in page_of(root).all


def test_ranks_take_two_tasks_and_three_entries(tmp_path: Path) -> None:
    single = StudyData.read(write_study(tmp_path / "a", study_cells(VARIANTS, (None,), [0])))
    assert "at least two tasks" in ranking(single)[2]
    two = StudyData.read(write_study(tmp_path / "b", study_cells(VARIANTS[:2], ("x", "y"), [0], random=False)))
    ranks, shares, why = ranking(two)
    assert ranks is None
    assert shares is not None
    assert "at least three entries; there are 2" in why
    partly = study_cells(VARIANTS, ("x", "y"), [0])
    third = StudyData.read(write_study(tmp_path / "c", partly, finished=lambda cell: cell.key != "GDAS/y/seed-0"))
    ranks, _, why = ranking(third)
    assert ranks is not None
    assert "GDAS" not in ranks.ranks
    assert why == "Left out, because they lack a score on some task: GDAS. "


def test_friedmans_p_is_exact_and_never_printed_as_zero(tmp_path: Path) -> None:
    def score(cell: Any, rng: np.random.Generator) -> float:
        return 0.5 + 0.1 * VARIANTS.index(cell.variant)

    pages = [
        page_of(write_study(tmp_path / str(n), study_cells(VARIANTS[:3], "wxyz"[:n], [0], random=False), score)).all
        for n in (2, 3)
    ]
    assert "p = 0.167 (exact, over all orders of the ranks): 2 tasks cannot show a difference, whatever" in pages[0]
    assert "p = 0.028 (exact, over all orders of the ranks): the ranks differ. Two entries whose ranks" in pages[1]
    assert [shown_p(p) for p in (1e-300, 0.00099, 0.001, 1.0)] == ["under 0.001", "under 0.001", "0.001", "1.000"]


def test_designs_show_what_parts_contribute(tmp_path: Path) -> None:
    grid = [{"decay": a, "noise": b} for a in ("off", "on") for b in ("off", "on")]

    def score(cell: Any, rng: np.random.Generator) -> float:
        on = [level == "on" for level in cell.levels.values()]
        return 0.5 + 0.1 * sum(on) + 0.05 * all(on) * (len(on) == 2) + 0.001 * rng.standard_normal()

    page = page_of(write_study(tmp_path / "f", study_cells(("DARTS",), (None,), range(3), grid, False), score))
    table = next(said for said in page.texts["table"] if "Effects of factors" in said)
    effects = {
        name: float(value) for name, value in re.findall(r"((?:decay|noise) = on)main effect\+(\d+\.\d\d)", table)
    }
    assert effects == {"decay = on": pytest.approx(12.5, abs=0.2), "noise = on": pytest.approx(12.5, abs=0.2)}
    both = re.search(r"decay = on and noise = oninteraction\+(\d\.\d\d)", table)
    assert both is not None
    assert float(both[1]) == pytest.approx(5, abs=0.3)
    without = [{"a": a, "b": b, "c": c} for a, b, c in ("111", "011", "101", "110")]
    parts = [{name: "on" if level == "1" else "off" for name, level in row.items()} for row in without]
    study = write_study(tmp_path / "l", study_cells(("DARTS",), (None,), range(3), parts, False), score)
    page = page_of(study)
    assert reference_of(StudyData.read(study)) == Entry("DARTS", (("a", "on"), ("b", "on"), ("c", "on")))
    table = next(said for said in page.texts["table"] if "left out of DARTS, compared with DARTS +a +b +c" in said)
    assert [float(value) for value in re.findall(r"[abc]−(\d+\.\d\d)", table)] == pytest.approx([10] * 3, abs=0.3)
