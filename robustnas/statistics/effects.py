"""Main effects and interactions of factorial designs, by effect coding: unweighted marginal means, type III squares."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations, pairwise, product

import numpy as np
from scipy import stats

from robustnas.statistics.intervals import Interval
from robustnas.statistics.samples import Array, check_share, numbers


@dataclass(frozen=True)
class Term:
    """One row of an analysis of variance."""

    factors: tuple[str, ...]  #: the factor, or the factors of an interaction
    freedom: int  #: degrees of freedom
    squares: float  #: sum of squares, of type III
    f: float  #: the F statistic: mean square over residual mean square
    p: float  #: the p-value
    partial: float  #: partial η²: sum of squares over itself plus that of the residuals

    @property
    def name(self) -> str:
        """The factors, joined by a colon."""
        return ":".join(self.factors)


@dataclass(frozen=True)
class Effect:
    r"""The effect of levels, compared with the first level of each factor.

    For one factor, the difference :math:`\mu_i - \mu_0` of marginal means. For two, what a change of one adds to the
    effect of the other, :math:`(\mu_{ij} - \mu_{0j}) - (\mu_{i0} - \mu_{00})`: twice the "interaction effect" of
    books on :math:`2^k` designs. More factors likewise. ``p`` is the two-sided p-value of its t test, not corrected for
    multiple comparisons, and ``n`` the number of runs at these levels.
    """

    factors: tuple[str, ...]
    levels: tuple[str, ...]
    value: float
    interval: Interval
    p: float
    n: int


@dataclass(frozen=True)
class Factorial:
    """The analysis of a factorial design."""

    n: int  #: runs
    mean: float  #: unweighted mean over the cells
    terms: tuple[Term, ...]  #: the analysis of variance
    effects: tuple[Effect, ...]  #: the effects
    freedom: int  #: residual degrees of freedom
    deviation: float  #: residual standard deviation


def factorial(
    scores: Iterable[float],
    levels: Mapping[str, Sequence[str]],
    blocks: Sequence[object] | None = None,
    order: int = 2,
    level: float = 0.95,
) -> Factorial:
    r"""Return main effects and interactions of factors, by ordinary least squares.

    See Montgomery, "Design and Analysis of Experiments", chapters 5, 6 and 15.

    Args:
        scores: Score of each run, ``[n]``.
        levels: Factor to its level in each run, ``[n]``; the first level seen is the reference.
        blocks: What runs share besides the factors, such as the seed, ``[n]``. Differences between blocks then do not
            count as noise, as in a paired test.
        order: Largest number of factors in an interaction; 1 for main effects only.
        level: Level of the intervals.

    Raises:
        ValueError: If lists differ in length, a factor has one level, or there are too few runs or combinations for the
            interactions.
    """
    y = numbers(scores)
    check_share(level, "level")
    _check(len(y), levels, blocks, order)
    design = _Design(levels, order)
    fit = _Fit(y, design.columns(blocks))
    effects = [
        design.effect(fit, position, place, level)
        for position, factors in enumerate(design.terms)
        for place in product(*(range(1, len(design.names[factor])) for factor in factors))
    ]
    anova = tuple(fit.term(factors, 1 + position) for position, factors in enumerate(design.terms))
    return Factorial(len(y), float(fit.coefficients[0]), anova, tuple(effects), fit.freedom, fit.variance**0.5)


class _Design:
    """The design matrix of the factors."""

    def __init__(self, levels: Mapping[str, Sequence[str]], order: int) -> None:
        self.levels = levels
        self.names = {factor: list(dict.fromkeys(column)) for factor, column in levels.items()}
        self.codes = {factor: _codes(len(names)) for factor, names in self.names.items()}
        self.terms = [factors for size in range(1, order + 1) for factors in combinations(levels, size)]

    def columns(self, blocks: Sequence[object] | None) -> list[Array]:
        """Columns of the constant, of every term and of the blocks, each ``[n, columns]``."""
        rows = {
            factor: self.codes[factor][[self.names[factor].index(entry) for entry in column]]
            for factor, column in self.levels.items()
        }
        constant = np.ones((len(next(iter(rows.values()))), 1))
        found = [constant, *(_product([rows[factor] for factor in factors]) for factors in self.terms)]
        if blocks is not None and len(names := list(dict.fromkeys(blocks))) > 1:
            found.append(_codes(len(names))[[names.index(block) for block in blocks]])
        return found

    def effect(self, fit: _Fit, position: int, place: tuple[int, ...], level: float) -> Effect:
        """The effect of some levels, by index, compared with the first ones."""
        factors = self.terms[position]
        changes = [
            self.codes[factor][[at]] - self.codes[factor][[0]] for factor, at in zip(factors, place, strict=True)
        ]
        value, error = fit.contrast(1 + position, _product(changes)[0])
        chosen = tuple(self.names[factor][at] for factor, at in zip(factors, place, strict=True))
        n = sum(run == chosen for run in zip(*(self.levels[factor] for factor in factors), strict=True))
        half = float(stats.t.ppf((1 + level) / 2, fit.freedom)) * error
        p = float(2 * stats.t.sf(abs(value) / error, fit.freedom)) if error else (0.0 if value else 1.0)
        return Effect(factors, chosen, value, Interval(value - half, value + half, level, "t"), p, n)


class _Fit:
    """Least squares over blocks of columns, the first of them the constant."""

    def __init__(self, y: Array, columns: Sequence[Array]) -> None:
        design = np.concatenate(columns, axis=1)
        ends = np.cumsum([0, *(block.shape[1] for block in columns)])
        self.places = [slice(start, end) for start, end in pairwise(ends)]
        self.freedom = len(y) - design.shape[1]
        if self.freedom < 1:
            raise ValueError(
                f"Expected more runs than the {design.shape[1]} coefficients, to separate effects from noise, "
                f"but got {len(y)}; lower `order` or run more seeds."
            )
        if np.linalg.matrix_rank(design) < design.shape[1]:
            raise ValueError(
                f"Expected `levels` to hold enough combinations to estimate {design.shape[1]} coefficients, but some "
                "factors always change together; lower `order` or run the missing combinations."
            )
        self.covariance = np.linalg.inv(design.T @ design)
        found = np.linalg.lstsq(design, y, rcond=None)[0]
        self.coefficients: Array = np.where(np.abs(found) <= 1e-12 * np.abs(y).max(), 0.0, found)
        rest = y - design @ self.coefficients
        squares, rounding = float(rest @ rest), 1e-24 * float(y @ y)
        self.variance = (squares if squares > rounding else 0.0) / self.freedom

    def term(self, factors: tuple[str, ...], block: int) -> Term:
        """The row of the analysis of variance of a block of columns."""
        place, residual = self.places[block], self.variance * self.freedom
        beta = self.coefficients[place]
        squares = float(beta @ np.linalg.solve(self.covariance[place, place], beta))
        f = squares / len(beta) / self.variance if self.variance else (np.inf if squares else 0.0)
        partial = squares / (squares + residual) if squares + residual else 0.0
        return Term(factors, len(beta), squares, float(f), float(stats.f.sf(f, len(beta), self.freedom)), partial)

    def contrast(self, block: int, weights: Array) -> tuple[float, float]:
        """A weighted sum of the coefficients of a block, with its standard error."""
        place = self.places[block]
        squared = self.variance * weights @ self.covariance[place, place] @ weights
        return float(weights @ self.coefficients[place]), float(np.sqrt(squared))


def _codes(levels: int) -> Array:
    """A row for each level, ``[levels, levels - 1]``, with columns that sum to zero."""
    return np.vstack([np.eye(levels - 1), -np.ones((1, levels - 1))])


def _product(blocks: Sequence[Array]) -> Array:
    """Products of the columns of several blocks of the same rows, ``[rows, columns * columns * ...]``."""
    found = blocks[0]
    for block in blocks[1:]:
        found = (found[:, :, None] * block[:, None, :]).reshape(len(found), -1)
    return found


def _check(n: int, levels: Mapping[str, Sequence[str]], blocks: Sequence[object] | None, order: int) -> None:
    if not 1 <= order <= max(len(levels), 1):
        raise ValueError(f"Expected `order` to be from 1 to the {len(levels)} factors, but got {order}.")
    if not levels:
        raise ValueError("Expected `levels` to hold at least one factor, but got none.")
    for factor, column in levels.items():
        if len(column) != n:
            raise ValueError(f"Expected `levels[{factor!r}]` to hold {n} levels, a score each, but got {len(column)}.")
        if len(set(column)) < 2:
            raise ValueError(f"Expected `levels[{factor!r}]` to hold at least two levels, but got {set(column)}.")
    if blocks is not None and len(blocks) != n:
        raise ValueError(f"Expected `blocks` to hold {n} entries, one for each score, but got {len(blocks)}.")
