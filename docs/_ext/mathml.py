"""Formulas as MathML, which browsers draw themselves: no script, and no network."""

from __future__ import annotations

import re
from typing import Any

from docutils import nodes
from docutils.utils.math.latex2mathml import tex2mathml
from sphinx.application import Sphinx

SPELLINGS = {
    r"\\[bB]ig[lrg]?(?![a-z])": "",
    r"\\dots(?![a-z])": r"\\ldots",
    r"\\textstyle(?![a-z])": "",
}  # what docutils lacks


def _math(source: str, inline: bool) -> str:
    for pattern, known in SPELLINGS.items():
        source = re.sub(pattern, known, source)
    mathml: str = tex2mathml(source, as_block=not inline)
    return mathml


def _inline(translator: Any, node: nodes.math) -> None:
    translator.body.append(_math(node.astext(), True))
    raise nodes.SkipNode


def _block(translator: Any, node: nodes.math_block) -> None:
    translator.body.append(f'<div class="math">{_math(node.astext(), False)}</div>')
    raise nodes.SkipNode


def setup(app: Sphinx) -> dict[str, Any]:
    """Add the renderer ``mathml``."""
    app.add_html_math_renderer("mathml", inline_renderers=(_inline, None), block_renderers=(_block, None))
    return {"parallel_read_safe": True}
