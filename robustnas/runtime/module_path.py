"""Where Python looks for modules: not in the current folder, where the files of a run from elsewhere may lie.

This module is imported before the current folder is off the path, so it imports only what Python has loaded itself.
"""

import os
import sys


def leave_current_folder() -> None:
    """Let neither this process nor those that it starts find modules in the current folder.

    ``python -m robustnas`` and an empty entry of ``PYTHONPATH`` put it on the path. In a folder that robustnas itself
    lies in, such as a checkout, nothing is changed.
    """
    if _same(os.curdir, os.path.dirname(os.path.dirname(os.path.realpath(__file__)))):
        return
    sys.path[:] = [entry for entry in sys.path if not _is_current(entry)]
    os.environ["PYTHONSAFEPATH"] = "1"  # what Python 3.11 and newer start with `-c` or `-m`
    if "PYTHONPATH" in os.environ:
        entries = os.environ["PYTHONPATH"].split(os.pathsep)
        os.environ["PYTHONPATH"] = os.pathsep.join(entry for entry in entries if not _is_current(entry))


class OutsideAnyRun:
    """A context for starting processes that import from the folder they start in: one that holds no files of a run.

    Where this process finds modules in the current folder, as scripts and notebooks do, it is not left.
    """

    def __enter__(self) -> None:
        self.folder = os.getcwd()
        if not any(map(_is_current, sys.path)):
            os.chdir(os.sep)

    def __exit__(self, *raised: object) -> None:
        os.chdir(self.folder)


def started_as_module() -> bool:
    """Whether this process is ``python -m robustnas``, or ``-m`` with a module of it, and is about to find it."""
    words = [word.removeprefix("-m").partition(".")[0] for word in sys.orig_argv]
    return sys.argv[:1] == ["-m"] and "robustnas" in words


def _is_current(entry: str) -> bool:
    return not entry or _same(entry, os.curdir)


def _same(one: str, other: str) -> bool:
    try:
        return os.path.samefile(one, other)
    except (OSError, ValueError):
        return False
