"""Links between pages lead to files, and their anchors to headings."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from blocks import ROOT, pages

LINK = re.compile(r"(?<!`)\[[^\]]*\]\((?!https?:|mailto:)([^)#\s]*)(#[\w-]+)?\)")
PAGES = {str(page.relative_to(ROOT)): page for page in [*pages(), ROOT / "benchmarks" / "README.md"]}
GENERATED = ROOT / "docs" / "reference" / "generated"  # checked by Sphinx, which makes it


def anchors(page: Path) -> set[str]:
    """Anchors of the headings of a page, as GitHub and MyST make them."""
    text = re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)
    headings = re.findall(r"^#+ +(.+)$", text, re.MULTILINE)
    return {"#" + re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("name", PAGES)
def test_links_lead_somewhere(name: str) -> None:
    page = PAGES[name]
    for path, anchor in LINK.findall(page.read_text(encoding="utf-8")):
        target = (page.parent / path).resolve() if path else page
        if GENERATED in target.parents:
            continue
        assert target.exists(), f"{name} links to {path}, which is not there"
        assert not anchor or anchor in anchors(target), f"{name} links to {path}{anchor}, which is no heading"


@pytest.mark.parametrize("folder", ["robustnas", "variants", "diagnostics", "configs", "benchmarks", "tests"])
def test_pages_that_the_code_names_are_there(folder: str) -> None:
    for path in (ROOT / folder).rglob("*"):
        if path.suffix in (".py", ".yaml", ".md") and path.name != Path(__file__).name:
            for named in re.findall(r"docs/[\w/-]+\.md", path.read_text(encoding="utf-8")):
                assert (ROOT / named).is_file(), f"{path.relative_to(ROOT)} names {named}, which is not there"


def test_the_readme_keeps_its_length() -> None:
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) < 200
