"""The command ``robustnas``: find the module of a subcommand and run it.

No heavy module is imported before the subcommand is known, so that help and errors appear at once; no third-party
package is imported before the current folder is removed from the module path.
"""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Callable, Sequence

from robustnas.commands import COMMANDS
from robustnas.runtime.module_path import remove_current_folder_from_path

USAGE = """usage: robustnas COMMAND [OPTIONS]

Differentiable neural architecture search that does not collapse, and that shows why when it does.

commands:
{commands}

  robustnas COMMAND --help    options of a command
  robustnas --version         the version
  --trust MODULE              with any command: allow files to name classes and spaces of MODULE
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Return the exit status of a command, given as the words after ``robustnas``; those of the process by default.

    It is that of the command, or 0; 1 after an error; 2 after a wrong command line; 130 after Ctrl-C; 141 if the reader
    of the output was closed. An error that is no message of this library is a bug, and is raised.
    """
    if arguments is None:  # called as a program, not by other code
        remove_current_folder_from_path()
    from robustnas.runtime.terminal import Streams, printable

    with printable(), Streams() as streams:
        return streams.status(_answer(list(sys.argv[1:] if arguments is None else arguments)))


def _answer(words: list[str]) -> int:
    from robustnas.cli.errors import CommandLineError
    from robustnas.runtime.terminal import one_line
    from robustnas.runtime.trust import trusting

    if not words or words[0] in ("-h", "--help", "help"):
        listing = "\n".join(f"  {name:<12}{says}" for name, (_, says) in COMMANDS.items())
        print(USAGE.format(commands=listing), end="")
        return 0 if words else 2
    if words[0] == "--version":
        from robustnas import __version__

        print(__version__)
        return 0
    if words[0] not in COMMANDS:
        print(f"robustnas: Expected a command among {', '.join(COMMANDS)}, but got {words[0]!r}.", file=sys.stderr)
        return 2
    if not _in_a_folder():
        print("robustnas: Expected the current folder to exist, but it was deleted.", file=sys.stderr)
        return 1
    try:
        with trusting(words) as words:
            command: Callable[[list[str]], object] = importlib.import_module(COMMANDS[words[0]][0]).main
            status = command(words)
    except (ValueError, OSError, RuntimeError) as error:
        if (sentence := _sentence(error)) is None:
            raise
        print(f"robustnas: {one_line(sentence)}", file=sys.stderr)
        return 2 if isinstance(error, CommandLineError) else 1
    except KeyboardInterrupt:
        print("\nrobustnas: Stopped by SIGINT (Ctrl-C).", file=sys.stderr)
        return 130
    return status if isinstance(status, int) else 0


def _sentence(error: Exception) -> str | None:
    """What to say of an error; ``None`` for a bug, which keeps its traceback."""
    text = str(error)
    if isinstance(error, ValueError):
        return text if text.startswith("Expected ") else None  # a message of this library
    if isinstance(error, OSError) and error.strerror is not None:
        place = "its files" if error.filename is None else os.fsdecode(error.filename)  # a full disk gives no file name
        return f"Expected to read or write {place}, but got: {error.strerror}."
    if text.startswith("Symlink loop from "):  # of pathlib, until Python 3.12
        return f"Expected files that can be followed, but got a {text}."
    return None


def _in_a_folder() -> bool:
    try:
        return bool(os.getcwd())
    except OSError:
        return False


if __name__ == "__main__":
    sys.exit(main())
