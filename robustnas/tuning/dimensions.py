"""What a hyperparameter may be: numbers between two bounds, or one of some choices."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

Value = None | bool | int | float | str  # what a trial of Optuna holds


class Dimension(ABC):
    """What one hyperparameter may be."""

    @abstractmethod
    def suggest(self, trial: Any, name: str) -> Value:
        """Let a trial of Optuna choose."""

    @abstractmethod
    def option(self, value: Value) -> Any:
        """The value of the option that a chosen value stands for."""

    @abstractmethod
    def find(self, option: Any) -> Value:
        """The value that stands for an option; a ``ValueError`` where there is none."""

    @abstractmethod
    def examples(self) -> list[Value]:
        """Values whose options are checked before anything runs."""


@dataclass(frozen=True)
class Numbers(Dimension):
    """Numbers from ``low`` to ``high``, both included; ``whole``: integers, ``log``: uniform in the logarithm."""

    low: float
    high: float
    log: bool = False
    step: float | None = None
    whole: bool = False

    def suggest(self, trial: Any, name: str) -> Value:
        if self.whole:
            return int(trial.suggest_int(name, int(self.low), int(self.high), step=int(self.step or 1), log=self.log))
        return float(trial.suggest_float(name, self.low, self.high, step=self.step, log=self.log))

    def option(self, value: Value) -> Any:
        return value

    def find(self, option: Any) -> Value:
        if type(option) not in (int, float) or not self.low <= option <= self.high:
            raise ValueError(f"Expected {option!r} to be from {self.low:g} to {self.high:g}.")
        if self.step is not None and not math.isclose(offset := (option - self.low) / self.step, round(offset)):
            raise ValueError(f"Expected {option!r} to be {self.low:g} and a multiple of {self.step:g}.")
        return int(option) if self.whole else float(option)

    def examples(self) -> list[Value]:
        return [self.option(self.low), self.option(self.high)]


@dataclass(frozen=True)
class Choices(Dimension):
    """One of some options, each with a name; plain values are their own names."""

    options: Mapping[Any, Any]

    def suggest(self, trial: Any, name: str) -> Value:
        found: Value = trial.suggest_categorical(name, list(self.options))
        return found

    def option(self, value: Value) -> Any:
        return self.options[value]

    def find(self, option: Any) -> Value:
        for name, held in self.options.items():
            if held == option and type(held) is type(option):
                found: Value = name
                return found
        raise ValueError(f"Expected {option!r} to be one of {list(self.options)}.")

    def examples(self) -> list[Value]:
        return list(self.options)


def read_dimension(where: str, given: Any) -> Dimension:
    """Return a dimension as a file gives it: ``low`` and ``high``, or ``choices``.

    Raises:
        ValueError: If it is neither, or its bounds or choices are wrong.
    """
    if isinstance(given, dict) and set(given) == {"choices"}:
        return Choices(_choices(f"{where}.choices", given["choices"]))
    if not isinstance(given, dict) or not {"low", "high"} <= set(given) <= {"low", "high", "log", "step"}:
        raise ValueError(
            f"Expected `{where}` to have `low` and `high` (with `log` or `step`), or `choices`, but got {given!r}."
        )
    low, high, log, step = given["low"], given["high"], given.get("log", False), given.get("step")
    for name, bound in (("low", low), ("high", high), *((("step", step),) if step is not None else ())):
        if type(bound) not in (int, float) or not math.isfinite(bound):
            raise ValueError(f"Expected `{where}.{name}` to be a number, but got {bound!r}.")
    if not low < high:
        raise ValueError(f"Expected `{where}.low` to be below `{where}.high`, {high}, but got {low}.")
    if not isinstance(log, bool):
        raise ValueError(f"Expected `{where}.log` to be true or false, but got {log!r}.")
    if log and low <= 0:
        raise ValueError(f"Expected `{where}.low` to be above 0, since `log` is true, but got {low}.")
    whole = all(type(bound) is int for bound in (low, high, step or 1))
    if step is not None and (log or not 0 < step <= high - low):
        raise ValueError(
            f"Expected `{where}.step` to be above 0, at most {high - low:g}, and without `log`, but got {step}."
        )
    return Numbers(low, high, log, step, whole)


def _choices(where: str, given: Any) -> dict[Any, Any]:
    named = given if isinstance(given, dict) else {}
    if isinstance(given, list) and all(isinstance(value, Value) for value in given):
        named = {value: value for value in given}
    if len(named) < 2 or len(named) != len(given) or not all(isinstance(name, Value) for name in named):
        raise ValueError(
            f"Expected `{where}` to be two or more different values, or names with their values, but got {given!r}."
        )
    return dict(named)
