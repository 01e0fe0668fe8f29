"""What is said of costs: words and numbers agree, and a damaged file is refused."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from verdicts import search

from robustnas.analysis import judge
from robustnas.analysis.cost_outcome import FILE, CostOutcome, figures, read_cost, share

MET = CostOutcome("flops", "multiply-adds for an image", "costs.json", "g", 230_208, 259_867.5, True, 300_000.0)


def test_words_and_numbers_agree() -> None:
    assert MET.line == (
        "cost target met: flops of the final genotype 230,208 multiply-adds for an image, target 300,000 (23 % below); "
        "expected cost at the end 259,868"
    )
    missed = replace(MET, cost=300_001, finished=False)
    assert missed.line.startswith("cost target missed by under 0.01 % so far: flops of the genotype 300,001 ")
    exact = replace(MET, cost=300_000)
    assert (exact.met, "below" in exact.line) == (True, False)
    near = replace(MET, measure="latency", unit="milliseconds for a batch", cost=5.00004, target=5.0, expected=4.5)
    assert near.met is False
    assert "latency of the final genotype 5.00004 milliseconds for a batch, target 5;" in near.line
    weighed = replace(MET, target=None, reference=2e5)
    assert (weighed.met, weighed.line) == (None, (
        "cost: flops of the final genotype 230,208 multiply-adds for an image; reference 200,000; expected cost at the "
        "end 259,868"
    ))  # fmt: skip


def test_figures_tell_apart_what_differs() -> None:
    assert figures({"a": 1.23456, "b": 1.23457}) == {"a": "1.23456", "b": "1.23457"}
    assert figures({"a": 1234.6, "b": 1e6}) == {"a": "1,235", "b": "1,000,000"}
    assert figures({"a": 2.5e-5}) == {"a": "2.5e-05"}
    assert (share(0.12), share(0.0123), share(1e-6), share(0.0)) == ("12 %", "1.2 %", "under 0.01 %", "0 %")


def test_a_file_is_read_back_and_a_damaged_one_refused(tmp_path: Path) -> None:
    assert read_cost(tmp_path, None) is None
    MET.write(tmp_path)
    assert read_cost(tmp_path, None) == MET
    held = json.loads((tmp_path / FILE).read_text(encoding="utf-8"))
    assert held["met"] is True
    for wrong in ({"cost": "7"}, {"cost": True}, {"target": -1.0}, {"finished": 1}, {"unit": None}, {"schema": 2}):
        (tmp_path / FILE).write_text(json.dumps({**held, **wrong}), encoding="utf-8")
        with pytest.raises(ValueError, match=r"Expected .*cost\.json to hold the costs of a search, but `"):
            read_cost(tmp_path, None)
    (tmp_path / FILE).write_text("[]", encoding="utf-8")
    with pytest.raises(ValueError, match="to hold the costs of a search"):
        read_cost(tmp_path, None)


def test_costs_of_another_genotype_are_not_those_of_the_run(tmp_path: Path) -> None:
    MET.write(tmp_path)
    assert read_cost(tmp_path, search().final) is None


def test_the_verdict_says_them_in_every_form() -> None:
    verdict = judge(search(cost=MET))
    assert MET.line in " ".join(verdict.text().split())
    assert max(map(len, verdict.text().splitlines())) <= 80
    assert f"**Cost** {MET.line}." in verdict.markdown()
    data = json.loads(verdict.to_json())
    assert (data["cost"]["met"], data["cost"]["to_take"]) == (True, None)
    assert json.loads(judge(search()).to_json())["cost"] is None
    other = replace(verdict, take=replace(verdict.take, epoch=7), cost_to_take=463_680)
    assert other.cost_line == f"{MET.line}; that after epoch 7, to take, costs 463,680, misses the target"
