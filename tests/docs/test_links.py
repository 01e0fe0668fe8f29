"""Links between pages lead to files, and their anchors to headings."""

from __future__ import annotations

import re
from pathlib import Path

from blocks import ROOT, pages
from tables import check_each

LINK = re.compile(r"(?<!`)\[[^\]]*\]\((?!https?:|mailto:)([^)#\s]*)(#[\w-]+)?\)")
PAGES = {str(page.relative_to(ROOT)): page for page in [*pages(), ROOT / "benchmarks" / "README.md"]}
GENERATED = ROOT / "docs" / "reference" / "generated"  # checked by Sphinx, which makes it


def anchors(page: Path) -> set[str]:
    """Anchors of the headings of a page, as GitHub and MyST make them."""
    text = re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)
    headings = re.findall(r"^#+ +(.+)$", text, re.MULTILINE)
    return {"#" + re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in headings}


def test_links_lead_somewhere() -> None:
    headings = {page: anchors(page) for page in PAGES.values()}

    def check(name: str) -> None:
        page = PAGES[name]
        for path, anchor in LINK.findall(page.read_text(encoding="utf-8")):
            target = (page.parent / path).resolve() if path else page
            if GENERATED in target.parents:
                continue
            assert target.exists(), f"{name} links to {path}, which is not there"
            known = headings.get(target) or (anchors(target) if anchor else set())
            assert not anchor or anchor in known, f"{name} links to {path}{anchor}, which is no heading"

    check_each(PAGES, check)


def test_pages_that_the_code_names_are_there() -> None:
    def check(path: Path) -> None:
        for named in re.findall(r"docs/[\w/-]+\.md", path.read_text(encoding="utf-8")):
            assert (ROOT / named).is_file(), f"{path.relative_to(ROOT)} names {named}, which is not there"

    folders = ("robustnas", "variants", "diagnostics", "configs", "benchmarks", "tests")
    paths = [path for folder in folders for path in (ROOT / folder).rglob("*")]
    check_each([p for p in paths if p.suffix in (".py", ".yaml", ".md") and p.name != Path(__file__).name], check)
