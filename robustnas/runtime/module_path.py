"""Remove the current folder from Python's module path, since it may hold files of a run from elsewhere.

This module is imported before the current folder is removed, so it imports only what Python has loaded itself.
"""

import os
import sys


def remove_current_folder_from_path() -> None:
    """Remove the current folder, unless robustnas lies in it, from the module path here and in processes started here.

    ``python -m robustnas`` and an empty entry of ``PYTHONPATH`` put it there.
    """
    if _same(os.curdir, os.path.dirname(os.path.dirname(os.path.realpath(__file__)))):
        return
    sys.path[:] = [entry for entry in sys.path if not _is_current(entry)]
    os.environ["PYTHONSAFEPATH"] = "1"  # respected by Python 3.11 and newer
    if "PYTHONPATH" in os.environ:
        entries = os.environ["PYTHONPATH"].split(os.pathsep)
        os.environ["PYTHONPATH"] = os.pathsep.join(entry for entry in entries if not _is_current(entry))


class InRootFolder:
    """Start processes in the root folder, which holds no files of a run, since they import from where they start.

    If this process itself imports from the current folder, as scripts and notebooks do, the folder is not changed.
    """

    def __enter__(self) -> None:
        self.folder = os.getcwd()
        if not any(map(_is_current, sys.path)):
            os.chdir(os.sep)

    def __exit__(self, *raised: object) -> None:
        os.chdir(self.folder)


def started_as_module() -> bool:
    """Whether this process is ``python -m robustnas``, or ``-m`` with a module of it that is still to be found."""
    words = [word.removeprefix("-m").partition(".")[0] for word in sys.orig_argv]
    return sys.argv[:1] == ["-m"] and "robustnas" in words


def _is_current(entry: str) -> bool:
    return not entry or _same(entry, os.curdir)


def _same(one: str, other: str) -> bool:
    try:
        return os.path.samefile(one, other)
    except (OSError, ValueError):
        return False
