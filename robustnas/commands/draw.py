"""``robustnas draw``: draw the cells of a genotype."""

from __future__ import annotations

from robustnas.cli.errors import Parser
from robustnas.plotting.cells import save_drawing
from robustnas.runs.record import read_genotype
from robustnas.spaces import find_space


def parser() -> Parser:
    """The options of ``robustnas draw``."""
    parser = Parser(prog="robustnas draw", description="Draw the cells of a genotype.")
    parser.add_argument(
        "genotype",
        help="a genotype as text (one line, JSON, `Genotype(normal=...)` of DARTS, a NAS-Bench-201 string), a file "
        "that holds one, or a run folder",
    )
    parser.add_path(
        "--out", action="append", metavar="FILE", help="file ending in .svg, .png or .dot (default: genotype.svg)"
    )
    parser.add_argument("--space", help="search space, by name or import path (default: the one the genotype names)")
    return parser


def main(arguments: list[str]) -> None:
    """Draw a genotype into one file or several."""
    options = parser().parse_args(arguments[1:])
    given = find_space(options.space) if options.space else None
    genotype = read_genotype(options.genotype, given)
    space = given or find_space(genotype.space)
    genotype.validate(space)
    for path in options.out or ["genotype.svg"]:
        save_drawing(genotype, path, space)
        print(path)
