"""What a search with a cost in the loss of α came to: costs of its genotype, and whether they meet the target."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from robustnas.runs.record import read_json, write_json
from robustnas.spaces import Genotype

SCHEMA = 1
FILE = "cost.json"
FIELDS = {
    "measure": str, "unit": str, "table": str, "genotype": str, "cost": float, "expected": float, "finished": bool,
}  # fmt: skip


@dataclass(frozen=True)
class CostOutcome:
    """Costs by the table of the penalty, as they are after an epoch or at the end of a search."""

    measure: str  #: which cost
    unit: str  #: its unit, for people
    table: str  #: file of the table
    genotype: str  #: the genotype that costs this
    cost: float  #: cost of the genotype
    expected: float  #: expected cost at the shares of the search
    finished: bool  #: whether the search has ended, so that the genotype is final
    target: float | None = None  #: cost that the genotype was to have at most, if there was one
    reference: float | None = None  #: cost that the expected one was weighed against, if there was one

    @property
    def met(self) -> bool | None:
        """Whether the genotype meets the target; ``None`` without a target."""
        return None if self.target is None else self.cost <= self.target

    @property
    def line(self) -> str:
        """One line, such as ``cost target missed by 12 %: flops of the genotype 281,000 ..., target 250,000; ...``."""
        named = {"cost": self.cost, "expected": self.expected, "target": self.target, "reference": self.reference}
        shown = figures({name: value for name, value in named.items() if value is not None})
        final, now = ("final ", "") if self.finished else ("", " so far")
        of = f"{self.measure.replace('_', ' ')} of the {final}genotype"
        expected = f"; expected cost {'at the end ' if self.finished else ''}{shown['expected']}"
        costs = f"{of} {shown['cost']} {self.unit}"
        if self.target is None:
            weighed = f"; reference {shown['reference']}" if self.reference is not None else ""
            return f"cost{now}: {costs}{weighed}{expected}"
        away = share(abs(self.cost / self.target - 1))
        if not self.met:
            return f"cost target missed by {away}{now}: {costs}, target {shown['target']}{expected}"
        below = f" ({away} below)" if self.cost < self.target else ""
        return f"cost target met{now}: {costs}, target {shown['target']}{below}{expected}"

    def beside(self, epoch: int, cost: float) -> str:
        """A clause on the genotype of an epoch that is to be taken in place of this one."""
        shown = figures({"cost": cost, "target": cost if self.target is None else self.target})["cost"]
        judged = "" if self.target is None else f", {'meets' if cost <= self.target else 'misses'} the target"
        return f"; that after epoch {epoch}, to take, costs {shown}{judged}"

    def write(self, folder: Path) -> None:
        """Write ``cost.json`` into the folder of a run."""
        write_json(folder / FILE, {"schema": SCHEMA, **asdict(self), "met": self.met})


def read_cost(folder: Path, final: Genotype | None) -> CostOutcome | None:
    """The costs that a run recorded; ``None`` without, or where it ended with another genotype than they are of."""
    path = folder / FILE
    if not path.is_file():
        return None
    held = read_json(path)
    given = held if isinstance(held, dict) else {}
    found: dict[str, Any] = {name: given.get(name) for name in (*FIELDS, "target", "reference")}
    wrong = [name for name, kind in FIELDS.items() if not _is(found[name], kind)]
    wrong += [name for name in ("target", "reference") if found[name] is not None and not _is(found[name], float)]
    if given.get("schema") != SCHEMA or wrong:
        what = f"`{wrong[0]}` is {found[wrong[0]]!r:.80}" if wrong else f"`schema` is {given.get('schema')!r:.80}"
        raise ValueError(f"Expected {path} to hold the costs of a search, but {what}.")
    outcome = CostOutcome(**found)
    return None if final is not None and outcome.genotype != str(final) else outcome


def _is(value: Any, kind: type) -> bool:
    """Whether JSON held a value of a kind; costs are zero or more, targets and references positive."""
    if kind is not float:
        return type(value) is kind
    return type(value) in (int, float) and 0 <= value < 1e100


def figures(values: dict[str, float]) -> dict[str, str]:
    """Costs for people, with as many digits as tell those apart that differ."""
    for digits in range(4, 18):
        shown = {name: _figure(value, digits) for name, value in values.items()}
        if len({float(text.replace(",", "")) for text in shown.values()}) == len(set(values.values())):
            break
    return shown


def _figure(value: float, digits: int) -> str:
    if value == int(value):
        return f"{int(value):,}"
    whole = len(str(int(abs(value)))) if abs(value) >= 1 else 0
    return f"{value:,.{max(digits - whole, 0)}f}" if abs(value) >= 1e-3 else f"{value:.{digits}g}"


def share(value: float) -> str:
    """A share in percent, never as 0 where it is not."""
    percent = 100 * value
    if percent and percent < 0.01:
        return "under 0.01 %"
    return f"{percent:.0f} %" if percent >= 10 else f"{percent:.2g} %"
