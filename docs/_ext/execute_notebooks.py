"""Execute the notebooks of the documentation again: ``python docs/_ext/execute_notebooks.py [NAME ...]``.

Each runs in an empty folder, in a kernel of this environment. What is stored holds no times and no state of
widgets, and of each result the richest form alone.
"""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path

import nbformat
from nbclient import NotebookClient

NOTEBOOKS = Path(__file__).resolve().parents[1] / "notebooks"
TIMEOUT = 3600  # seconds of a cell, for what hangs


def execute(path: Path, folder: Path) -> nbformat.NotebookNode:
    """The notebook of a file, executed in a folder.

    Args:
        path: The file, which stays as it is.
        folder: The working directory of its cells.

    Returns:
        The notebook with its new outputs.

    Raises:
        CellExecutionError: If a cell fails.
    """
    notebook = nbformat.read(path, as_version=4)
    scripts = os.path.dirname(sys.executable)  # where `!robustnas` is
    client = NotebookClient(
        notebook, timeout=TIMEOUT, kernel_name="python3", record_timing=False, resources={"metadata": {"path": folder}}
    )
    client.execute(env={**os.environ, "PATH": os.pathsep.join((scripts, os.environ["PATH"]))})
    for output in (output for cell in notebook.cells for output in cell.get("outputs", ())):
        if len(output.get("data", {})) > 1:
            output.data.pop("text/plain", None)  # readers see the richer form; that of a supernet has 10,000 characters
    notebook.metadata = {
        "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
        "language_info": {"name": "python", "pygments_lexer": "ipython3"},
    }
    return notebook


def main(names: list[str]) -> None:
    """Execute notebooks, by default all, and store them."""
    for path in sorted(NOTEBOOKS.glob("*.ipynb")):
        if not names or path.stem in names:
            with tempfile.TemporaryDirectory() as folder:
                nbformat.write(execute(path, Path(folder)), path)
            print(f"{path.name}: {path.stat().st_size:,} bytes")


if __name__ == "__main__":
    main(sys.argv[1:])
