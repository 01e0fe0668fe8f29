"""What a tuning prints at its end: how trials ended, what was confirmed, what was chosen, and what to run next."""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table

from robustnas.planning.durations import counted
from robustnas.tuning.confirming import Confirmed
from robustnas.tuning.plan import Plan
from robustnas.tuning.results import BEST, HISTORY, TABLE, Tried

SHOWN = 10  # hyperparameters in the table of importances
ENOUGH = 10  # complete trials from which on importances mean something


def print_trials(root: Path, plan: Plan, trials: Sequence[Tried], shares: Mapping[str, float]) -> None:
    """Print how the trials ended, and the importance of each hyperparameter."""
    counts = Counter(one.state for one in trials)
    print(f"{counted(len(trials), 'trial')}: {', '.join(f'{count} {state}' for state, count in counts.items())}.")
    if plan.defaults is None:
        print("The configuration that is not tuned lies outside the space, so it is no trial.")
    if shares:
        title = f"Importance, fANOVA over {counted(counts['complete'], 'complete trial')}"
        few = f"; fewer than {ENOUGH} say little" if counts["complete"] < ENOUGH else ""
        table = Table(title=title + few, title_justify="left")
        table.add_column("hyperparameter", overflow="fold")
        table.add_column("share of the variance", justify="right")
        for name, share in list(shares.items())[:SHOWN]:
            table.add_row(name, f"{share:.2f}")
        Console().print(table)
    print(f"Trials: {root / TABLE}, {root / HISTORY}")


def print_chosen(
    root: Path, plan: Plan, trials: Sequence[Tried], confirmed: Sequence[Confirmed], best: Tried | None
) -> None:
    """Print how the best configuration was chosen, and what to run next."""
    if best is None:
        print("No trial is complete, so there is no best configuration.")
        return
    untuned = next((one for one in trials if one.untuned), None)
    _print_confirmed(plan, confirmed)
    _print_values(best, untuned)
    if not confirmed:
        print("The best is measured once, on the data that chose it, so it looks better than it is.")
    elif confirmed[0].mean is None:
        print("A fresh seed of each failed, so the best is that of the trials' own seed: do not trust it.")
    elif best.untuned:
        print("With fresh seeds no trial was better than the configuration that is not tuned, so that one is the best.")
    elif not _is_shown(confirmed):
        print("These seeds do not show that it is better than the untuned one: the interval of the difference holds 0.")
    print(f"Best configuration: {root / BEST}. To train with it, and test once:")
    print(*commands(root, plan), sep="\n")


def _print_confirmed(plan: Plan, confirmed: Sequence[Confirmed]) -> None:
    """The means with fresh seeds, and differences from the untuned configuration, both with 95 % intervals."""
    if not confirmed:
        return
    untuned = next((one for one in confirmed if one.trial.untuned), None)
    seeds = counted(len(confirmed[0].seeds), "fresh seed")
    table = Table(title=f"{plan.metric} on validation, {seeds}, 95 % intervals", title_justify="left")
    for name in ("trial", "seed of the trials", "mean of fresh seeds", *(["minus untuned"] if untuned else [])):
        table.add_column(name, justify="left" if name == "trial" else "right")
    for one in confirmed:
        name = f"{one.trial.number}{', untuned' if one.trial.untuned else ''}"
        own = "stopped early" if one.trial.state != "complete" else f"{one.trial.metric:.3g}"
        mean = "a seed failed"
        if one.mean is not None and one.interval is not None:
            mean = f"{one.mean:.3g} [{one.interval.low:.3g}, {one.interval.high:.3g}]"
        paired = None if untuned in (None, one) else one.against(untuned)
        minus = f"{paired.difference:+.2g} [{paired.interval.low:+.2g}, {paired.interval.high:+.2g}]" if paired else ""
        table.add_row(name, own, mean, *([minus] if untuned else []))
    Console().print(table)


def _is_shown(confirmed: Sequence[Confirmed]) -> bool:
    """Whether the interval of the difference between the best and the untuned configuration is without 0."""
    untuned = next((one for one in confirmed if one.trial.untuned), None)
    paired = None if untuned is None else confirmed[0].against(untuned)
    return paired is None or 0 not in paired.interval


def _print_values(best: Tried, untuned: Tried | None) -> None:
    """The hyperparameters of the best configuration, beside those that are not tuned."""
    table = Table(title="Hyperparameters", title_justify="left")
    other = None if untuned is None or untuned is best else untuned
    for name in ("", f"trial {best.number}, the best", *(["untuned"] if other else [])):
        table.add_column(name, overflow="fold")
    for name, value in best.values.items():
        before = [] if other is None else [other.values.get(name)]
        table.add_row(name, *(f"{one:.6g}" if isinstance(one, float) else str(one) for one in (value, *before)))
    Console().print(table)


def commands(root: Path, plan: Plan) -> list[str]:
    """The commands that train with the best configuration, and test once."""
    run = root / "best"
    train = ["robustnas", "fit", "-c", str(root / BEST), "--run-dir", str(run)]
    test = ["robustnas", "test", "-c", str(run / "config.yaml"), "--ckpt_path", str(run / "last.ckpt")]
    last = test if plan.command == "evaluate" else ["robustnas", "evaluate", str(run)]
    return [shlex.join(train), shlex.join(last)]
