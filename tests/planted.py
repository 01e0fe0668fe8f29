"""A folder full of modules that leave a mark when they are executed, in which commands run."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib import metadata
from pathlib import Path

# `sitecustomize` of every process that a command starts. A name that is sought in vain is planted in the folder at that
# moment, and sought once more: whatever a process tries to import has been there to be found.
PLANTER = """
import os, sys

FOLDER, MARKS = {folder!r}, {marks!r}
TEXT = {text!r}


class Planter:
    def find_spec(self, name, path=None, target=None):
        if path is not None:
            return None
        with open(os.path.join(MARKS, "sought"), "a") as sought:
            sought.write(name + "\\n")
        file = os.path.join(FOLDER, name + ".py")
        if not os.path.exists(file):
            with open(file, "w") as planted:
                planted.write(TEXT)
        sys.path_importer_cache.pop(FOLDER, None)  # which may not know the new file
        for finder in sys.meta_path:
            if finder is not self and (spec := finder.find_spec(name, None, target)) is not None:
                return spec
        return None


sys.meta_path.append(Planter())
"""

# Runs several commands in one process, as the entry point does; argument by argument, `--` between commands.
DRIVER = """
import sys
from robustnas.__main__ import main

words, statuses = sys.argv[1:], []
while words:
    end = words.index("--") if "--" in words else len(words)
    sys.argv[1:], words = words[:end], words[end + 1 :]
    statuses.append(main())
print("statuses", *statuses)
"""

# A module of the user's own, with a part of a search.
PART = """
from dataclasses import dataclass

from robustnas.strategies import Softmax


@dataclass(frozen=True)
class Warm(Softmax):
    pass
"""


class Planted:
    """The folder, and what was executed of it.

    Args:
        folder: Where commands run.
        outside: Where the marks and the means of the test lie.
    """

    def __init__(self, folder: Path, outside: Path) -> None:
        self.folder, self.marks = folder, outside / "marks"
        self.folder.mkdir(exist_ok=True)
        self.marks.mkdir(parents=True)
        self.means = outside / "means"
        self.means.mkdir()
        marks = str(self.marks)
        self.text = (
            f"open({marks!r} + '/executed', 'a').write(__name__ + chr(10))\nraise ModuleNotFoundError('planted')\n"
        )
        planter = PLANTER.format(folder=str(folder), marks=marks, text=self.text)
        (self.means / "sitecustomize.py").write_text(planter, encoding="utf-8")
        (self.means / "driver.py").write_text(DRIVER, encoding="utf-8")

    def plant(self, *names: str) -> None:
        """Put modules of these names there; what is installed is not to be shadowed either."""
        for name in names:
            (self.folder / f"{name}.py").write_text(self.text, encoding="utf-8")

    def run(self, *command: str, path: str = "") -> subprocess.CompletedProcess[str]:
        """Run Python with arguments in the folder; `path` follows what the test needs in ``PYTHONPATH``."""
        kept = {
            name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "ROBUSTNAS", "RAY"))
        }
        environment = {**kept, "PYTHONPATH": f"{self.means}{path}", "OMP_NUM_THREADS": "1"}
        return subprocess.run(
            [sys.executable, *command], cwd=self.folder, env=environment, capture_output=True, text=True, timeout=1000
        )

    def sought(self) -> set[str]:
        return self._marked("sought")

    def executed(self) -> set[str]:
        return self._marked("executed")

    def _marked(self, name: str) -> set[str]:
        path = self.marks / name
        return set(path.read_text(encoding="utf-8").split()) if path.exists() else set()


def installed() -> set[str]:
    """Names of all modules of the standard library, and of installed packages."""
    found = {*sys.stdlib_module_names, *metadata.packages_distributions(), "robustnas", "variants", "diagnostics"}
    return {name for name in found if name.isidentifier()}
