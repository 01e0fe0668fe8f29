"""Every code block of the documentation runs, or says why not; then at least its commands and options exist."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from blocks import ATTRIBUTE, ROOT, blocks, pages
from running import check_block, furnish, run_block
from tables import check_each

from robustnas.analysis import registry
from robustnas.networks import operations
from robustnas.planning import probe

pytestmark = pytest.mark.usefixtures("few_samples", "no_pictures", "known_costs")

PAGES = {str(page.relative_to(ROOT)): page for page in pages() if blocks(page)}
SLOW = [name for name, page in PAGES.items() if any("slow" in block.attributes for block in blocks(page))]
LANGUAGES = {"console", "json", "python", "text", "toml", "yaml"}


@pytest.fixture
def sandbox(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A furnished current folder; modules, operations and metrics of a page are forgotten after it."""
    furnish(tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [str(tmp_path), *(path for path in sys.path if path)])
    monkeypatch.setattr(operations, "_KNOWN", dict(operations._KNOWN))
    monkeypatch.setattr(probe, "SECONDS", 0.0)
    metrics, before = dict(registry.METRICS), set(sys.modules)
    yield tmp_path
    registry.METRICS.clear()
    registry.METRICS.update(metrics)
    for name in set(sys.modules) - before:
        if str(getattr(sys.modules[name], "__file__", "")).startswith(str(tmp_path)):
            del sys.modules[name]


def run_page(name: str, with_slow: bool, capsys: pytest.CaptureFixture[str], runs: bool = True) -> None:
    names: dict[str, Any] = {"__name__": "page"}
    for block in blocks(PAGES[name]):
        if block.caption:
            Path(block.caption).write_text(block.text, encoding="utf-8")
        if not runs or block.caption or block.idle or ("slow" in block.attributes and not with_slow):
            check_block(block)
        else:
            run_block(block, names, capsys)


# Pages that train for long: by default their blocks are checked, as those are that are never run.
# README and add_a_paper run, but for their long commands.
GUIDES = (
    "using_results", "export", "recipes", "own_part", "interruption", "own_diagnostic", "loggers", "own_images",
    "own_space",
    "verdict", "verify",
)  # fmt: skip
DEAR = [*(f"docs/guides/{name}.md" for name in GUIDES), "docs/start/install.md", "docs/reference/file_formats.md"]


@pytest.mark.parametrize("name", [pytest.param(name, marks=pytest.mark.slow if name in DEAR else []) for name in PAGES])
def test_a_page_runs(name: str, sandbox: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run_page(name, False, capsys)


@pytest.mark.parametrize("name", DEAR)
def test_the_blocks_of_a_page_that_trains_for_long_are_right(
    name: str, sandbox: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run_page(name, False, capsys, runs=False)


@pytest.mark.slow
@pytest.mark.parametrize("name", SLOW)
def test_a_page_runs_with_its_long_commands(name: str, sandbox: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run_page(name, True, capsys)


def test_blocks_say_what_they_are() -> None:
    def check(name: str) -> None:
        for block in blocks(PAGES[name]):
            known = block.language in LANGUAGES or re.fullmatch(r"\{[\w-]+\}.*", block.language)
            assert known, f"{block.place}: a block of the language {block.language!r}"

            for kind in ("skip", "slow"):
                reason = block.attributes.get(kind)
                assert reason is None or len(reason.split()) > 1, f"{block.place}: {kind} without a reason"

    check_each(PAGES, check)


def test_attributes_belong_to_blocks() -> None:
    def check(name: str) -> None:
        found = ATTRIBUTE.findall(PAGES[name].read_text(encoding="utf-8"))
        kept = [item for block in blocks(PAGES[name]) for item in block.attributes.items()]
        assert sorted(found) == sorted(kept)
        assert {kind for kind, _ in found} <= {"skip", "slow", "status", "with"}

    check_each(PAGES, check)
