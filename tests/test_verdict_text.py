"""A verdict says the same as text, Markdown and JSON, and fits a terminal."""

from __future__ import annotations

import dataclasses
import json

import pytest
from verdicts import HINTS, search, taken_over

from robustnas.analysis import Verdict, judge
from robustnas.analysis.registry import thresholds
from robustnas.analysis.thresholds import REMEDIES
from robustnas.spaces import Genotype


@pytest.fixture
def verdicts() -> list[Verdict]:
    collapsed = search(HINTS, taken_over(), name="runs/a-very-long-name")
    return [judge(search()), judge(search(HINTS)), judge(collapsed), judge(collapsed.until(9))]


def test_the_text_fits_a_terminal(verdicts: list[Verdict]) -> None:
    for verdict in verdicts:
        text = verdict.text()
        assert max(map(len, text.splitlines())) <= 80
        assert text.startswith(verdict.state)
        assert all(e.threshold.measure in text and e.limit in text for e in verdict.evidence)
        assert all(remedy.setting in text for remedy in verdict.remedies)


def test_every_sign_fits_a_terminal(verdicts: list[Verdict]) -> None:
    evidence = tuple(dataclasses.replace(verdicts[2].evidence[0], threshold=row) for row in thresholds())
    text = dataclasses.replace(verdicts[2], evidence=evidence, remedies=tuple(REMEDIES.values())).text()
    assert max(map(len, text.splitlines())) <= 80


def test_markdown_says_the_same(verdicts: list[Verdict]) -> None:
    for verdict in verdicts:
        markdown = verdict.markdown()
        assert markdown.startswith(f"## {verdict.state.capitalize()}")
        table = [line for line in markdown.splitlines() if line.startswith("|")]
        assert len(table) == (len(verdict.evidence) + 2 if verdict.evidence else 0)
        assert {line.count("|") for line in table} <= {4}


def test_json_says_the_same(verdicts: list[Verdict]) -> None:
    for verdict in verdicts:
        data = json.loads(verdict.to_json())
        assert (data["schema"], data["state"], data["since"]) == (1, verdict.state, verdict.since)
        assert [one["name"] for one in data["evidence"]] == [e.threshold.name for e in verdict.evidence]
        assert all(one["source"] and one["threshold"] is not None for one in data["evidence"])
        held = data["take"]["genotype"]
        taken = None if held is None else Genotype.from_json(json.dumps(held))
        assert taken == verdict.take.genotype
