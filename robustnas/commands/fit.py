"""``robustnas fit``: run a search or train a network; with ``--recipe auto`` in a size that fits data and budget."""

from __future__ import annotations

from robustnas.cli import lightning_cli
from robustnas.cli.errors import Parser
from robustnas.planning.command import Asked, add_options, prepared
from robustnas.planning.given import given_options

OWN = ("--recipe", "--budget", "--dry-run")


def parser() -> Parser:
    """The options of ``robustnas fit`` beside those of LightningCLI."""
    parser = Parser(prog="robustnas fit", add_help=False)
    add_options(parser, "paper")
    return parser


def main(arguments: list[str]) -> None:
    """Run a configuration as it is, or plan it first."""
    words = arguments[1:]
    if not any(word.partition("=")[0] in OWN for word in words):
        if "--help" in words or "-h" in words:
            print(parser().format_help())
        lightning_cli.main(arguments)
        return
    options, rest = parser().parse_known_args(words)
    asked = Asked(options.recipe or "paper", options.budget, options.dry_run)
    with prepared(asked, [], rest, given_options(rest).get("run-dir")) as chosen:
        if chosen is not None:
            lightning_cli.main(["fit", *rest, *chosen])
