"""``--recipe``, ``--budget`` and ``--dry-run`` of a command: plan its run, print the plan, give the options for it."""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table

from robustnas.cli.configuration import configuration
from robustnas.planning.choosing import watched
from robustnas.planning.durations import counted, duration, seconds_of
from robustnas.planning.given import chosen_before, given_options, value_at, with_values
from robustnas.planning.plan import Plan, Request, plan_chosen, plan_configured
from robustnas.planning.probe import scratch
from robustnas.planning.target import ARCH_LR, ARCH_START, BATCH, EPOCHS, LR, NETWORK
from robustnas.runs.run_lock import check_new, newest, requeued
from robustnas.runtime.launch import is_one_of_several
from robustnas.runtime.paths import expand

RECIPES = ("auto", "paper")
CHOSEN = "ROBUSTNAS_CHOSEN"  # of the processes that Lightning starts: each would choose by its own clock
LARGEST_BATCH = 64  # where the recipe names none
FILES = "config.yaml manifest.json metrics.csv last.ckpt previous.ckpt events.out.tfevents.*"
OF_SEARCHES = "genotype.json genotype.svg genotype.png curves.png genotypes/ alpha/"
NETWORK_OPTIONS = ("channels", "layers", "cells", "stem")


def add_options(parser: argparse.ArgumentParser, default: str) -> None:
    """Add the three options to the parser of a command; ``default`` says which recipe it has without any."""
    recipe = "auto: choose sizes, epochs and batch by the data and the budget; paper: those of the configuration"
    parser.add_argument("--recipe", choices=RECIPES, help=f"{recipe} (default: {default})")
    budget = "time that the run may take with --recipe auto, such as 90s, 30m or 2h (default: 30m)"
    parser.add_argument("--budget", type=seconds_of, metavar="TIME", help=budget)
    dry_run = "print the plan, with time and memory estimated from the first steps, and write nothing"
    parser.add_argument("--dry-run", action="store_true", help=dry_run)


@dataclass(frozen=True)
class Asked:
    """What a command asks for.

    Args:
        recipe: ``auto`` or ``paper``.
        budget: Seconds; ``None`` where none was stated.
        dry_run: Whether nothing is to be run.
        most_batch: Largest batch that may be chosen; ``None`` for that of the configuration.
    """

    recipe: str
    budget: float | None
    dry_run: bool
    most_batch: int | None = None

    def __post_init__(self) -> None:
        if self.budget is not None and self.recipe != "auto":
            raise ValueError(
                "Expected `--budget` with `--recipe auto`, which chooses what fits, but got another recipe."
            )


@contextlib.contextmanager
def prepared(asked: Asked, base: Sequence[str], own: Sequence[str], folder: str | None) -> Iterator[list[str] | None]:
    """Plan a run, and say which options set what was chosen.

    Args:
        asked: Recipe, budget, and whether this is a dry run.
        base: Options of ``robustnas fit`` that the command sets.
        own: Options of the user, which win.
        folder: Folder of the run, ``None`` for a new one.

    Yields:
        The options; ``None`` after a dry run.
    """
    if "LOCAL_RANK" in os.environ and CHOSEN in os.environ:
        yield json.loads(os.environ[CHOSEN])
        return
    if asked.recipe == "paper" and not asked.dry_run:
        yield []
        return
    words = _words(asked, base, own, folder)
    if words is None:
        yield None
        return
    os.environ[CHOSEN] = json.dumps(words)
    try:
        yield words
    finally:
        os.environ.pop(CHOSEN, None)


def _words(asked: Asked, base: Sequence[str], own: Sequence[str], folder: str | None) -> list[str] | None:
    if is_one_of_several():
        raise ValueError(
            "Expected `--recipe paper` and no `--dry-run` in one of several processes that a launcher started, since "
            "each would choose by its own clock; a dry run with one process prints what to give."
        )
    given, path = given_options(own), None if folder is None else expand(folder, "--run-dir")
    continued = given.get("ckpt_path") or ("auto" if requeued() else None)
    if path is not None and not continued:
        check_new(path)
    source = Path(continued).parent if continued not in (None, "auto", "last") else path
    if source is not None and continued and asked.recipe == "auto" and newest(source) is not None:
        words = _continued(source, given)
        print(f"Continues with the sizes of {source}: {' '.join(words)}")
        if not asked.dry_run:
            return words
        asked = Asked("paper", None, True)
        own = [*own, *words]
    plan = _plan(asked, configuration([*base, *own]), given)
    print_plan(plan, path, asked.dry_run)
    return None if asked.dry_run else plan.words


def _continued(folder: Path, given: dict[str, str]) -> list[str]:
    """The options that an earlier start has chosen, but for those that are given."""
    network = [f"{owner}.{name}" for owner in ("model.init_args", NETWORK) for name in NETWORK_OPTIONS]
    held = chosen_before(folder, [*network, BATCH, LR, EPOCHS, ARCH_LR, ARCH_START]) or {}
    plain = {option: option.replace(".init_args", "") for option in held}
    return [f"--{k}={value}" for k, value in held.items() if value is not None and plain[k] not in given]


def _plan(asked: Asked, sections: dict[str, Any], given: dict[str, str]) -> Plan:
    most = asked.most_batch or value_at(sections, BATCH) or LARGEST_BATCH
    with scratch() as folder:
        if asked.dry_run and "cache_dir" in sections["data"]["init_args"]:
            sections = with_values(sections, {"data.init_args.cache_dir": str(folder / "cache")})
        request = Request(sections, given, asked.budget, int(most), folder)
        return plan_chosen(request, say=_say) if asked.recipe == "auto" else plan_configured(request, say=_say)


def _say(sentence: str) -> None:
    print(sentence, file=sys.stderr, flush=True)


def print_plan(plan: Plan, folder: Path | None, dry_run: bool) -> None:
    """Print each choice with its reason, and what the run will take."""
    target, stage = plan.target, plan.stage
    what = "search" if target.searches else "evaluation"
    space = "" if target.space is None else f" in {target.space.name}"
    images = f"{target.samples:,} images{' a role' if target.searches else ''} of {target.side} pixels"
    table = Table(title=f"Plan of the {what}{space}: {images}, {target.classes} classes", title_justify="left")
    table.add_column("setting")
    table.add_column("value", justify="right")
    table.add_column("reason", overflow="fold")
    for setting in plan.settings:
        table.add_row(setting.name, str(setting.value), setting.reason)
    Console().print(table)
    epochs = plan.epochs + stage.more
    held = f"{plan.memory.resident / 2**30:.2g} GiB of memory"
    if plan.memory.gpu:
        held += f" and {plan.memory.gpu / 2**30:.2g} GiB of the GPU"
    limit = "" if plan.budget is None else f" of {duration(plan.budget)}"
    limit += watched(plan.diagnosing, plan.seconds)
    print(f"Estimated from the first steps on {_device(plan)}: {duration(plan.seconds)}{limit}, {held}.")
    print(f"{counted(epochs, 'epoch')} of {counted(stage.steps, 'step')}, {epochs * stage.steps:,.0f} in all.")
    if dry_run:
        where = "a new folder under runs/" if folder is None else folder
        print(f"Would write to {where}: {FILES} {OF_SEARCHES if target.searches else 'test.json'}")
        if plan.words:
            print(f"Options: {' '.join(plan.words)}")


def _device(plan: Plan) -> str:
    several = f" ({plan.stage.processes} processes)" if plan.stage.processes > 1 else ""
    if plan.memory.gpu:
        return torch.cuda.get_device_name() + several
    threads = torch.get_num_threads()
    return f"this CPU with {threads} {'thread' if threads == 1 else 'threads'}{several}"
