"""Settings of the documentation: ``sphinx-build -W --keep-going -b html docs docs/_build``."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent / "_ext"))

import generate
from sphinx.application import Sphinx

import robustnas

project = "robustnas"
author = "the authors of robustnas"
copyright = author
version = release = robustnas.__version__

extensions = [
    "mathml",
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx_copybutton",
    "sphinx_design",
]
exclude_patterns = ["_build", "_ext", "launch", "jupyter_execute"]
templates_path: list[str] = []
html_theme = "furo"
html_math_renderer = "mathml"
html_title = "robustnas"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_theme_options = {"sidebar_hide_name": False}

nb_execution_mode = "off"  # notebooks are stored as docs/_ext/execute_notebooks.py executed them
nb_merge_streams = True
nb_render_markdown_format = "myst"  # verdicts are Markdown with tables
myst_enable_extensions = ["colon_fence", "deflist", "dollarmath"]
myst_heading_anchors = 4
copybutton_prompt_text = "$ "
autodoc_mock_imports = ["datasets", "ray"]
autodoc_typehints = "signature"
autodoc_preserve_defaults = True
autodoc_inherit_docstrings = False  # those of Lightning use directives of its own documentation
suppress_warnings = [
    "ref.python",  # two classes are called Probe, and signatures name them without their module
    "misc.highlighting_failure",  # IPython's lexer does not know a `!command` of several lines
]
napoleon_google_docstring = True
napoleon_numpy_docstring = False
napoleon_use_ivar = True


def setup(app: Sphinx) -> None:
    """Write the generated pages before Sphinx looks for sources."""
    app.connect("config-inited", generate.write_all)
