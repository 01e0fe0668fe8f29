"""The storage of a tuning: a database in which Optuna keeps what was tried, so that nothing is lost."""

from __future__ import annotations

import secrets
import warnings
from pathlib import Path
from typing import Any

import numpy as np

from robustnas import __version__
from robustnas.runs.record import read_json, write_json
from robustnas.runs.run_lock import holds_run
from robustnas.tuning.file import Sampler
from robustnas.tuning.plan import Plan, Values

SCHEMA = 1
FILE, RECORD, TRIALS, IDENTITY = "trials.sqlite", "tuning.json", "trials", "identity"
NUMBER, ERROR = "number", "error"  # attributes of a trial
WAIT = 60.0  # seconds that a worker waits for the others to write


def optuna_module() -> Any:
    """The module ``optuna``, quiet; a sentence that says what to install where it is missing."""
    try:
        import optuna
    except ImportError as error:
        raise ValueError(
            'Expected Optuna for `robustnas tune`, but it is not installed; `pip install "robustnas[tune]"` installs '
            "it."
        ) from error
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    return optuna


def default_storage(root: Path) -> str:
    """The URL of the SQLite file in the folder of a tuning."""
    return f"sqlite:///{(root / FILE).absolute()}"


def open_storage(url: str) -> Any:
    """The database at a URL of SQLAlchemy; one that cannot be opened is refused in a sentence."""
    optuna = optuna_module()
    from sqlalchemy.engine import make_url
    from sqlalchemy.exc import SQLAlchemyError

    try:
        waits = {"connect_args": {"timeout": WAIT}} if make_url(url).get_backend_name() == "sqlite" else {}
        return optuna.storages.RDBStorage(url, engine_kwargs=waits)
    except (SQLAlchemyError, ImportError, OSError, RuntimeError, ValueError) as error:
        reason = " ".join(str(error).strip().partition("\n")[0].split()).rstrip(".")
        raise ValueError(
            f"Expected `--storage` to be the URL of a database that SQLAlchemy opens, such as sqlite:///trials.sqlite, "
            f"but got {_public(url)}: {reason}."
        ) from error


def _public(url: str) -> str:
    """A URL without its password."""
    before, sign, after = url.rpartition("@")
    return f"{before.partition('://')[0]}://***{sign}{after}" if sign else url


def begin(root: Path, plan: Plan, url: str) -> Any:
    """Return the trials of a plan in a storage, new or those of an earlier call; others are refused.

    Raises:
        ValueError: If the folder holds another run, or the folder or the storage another tuning.
    """
    record, held = root / RECORD, _record(root, plan)
    storage, optuna = open_storage(url), optuna_module()
    new = plan.name not in optuna.get_all_study_names(storage)
    if new and held is not None and (root / TRIALS).exists():
        raise ValueError(
            f"Expected `--storage` to hold the trials that were begun in {root}, but {_public(url)} has none of the "
            f"name {plan.name}."
        )
    if new:
        held = held or {"schema": SCHEMA, "version": __version__, "name": plan.name, "metric": plan.metric,
            "fingerprint": plan.fingerprint, IDENTITY: secrets.token_hex(8)}  # fmt: skip
        write_json(record, held)
        direction = "maximize" if plan.higher else "minimize"
        study = optuna.create_study(storage=storage, study_name=plan.name, direction=direction)
        study.set_user_attr(IDENTITY, held[IDENTITY])
        return study
    study = optuna.load_study(storage=storage, study_name=plan.name)
    if held is None or study.user_attrs.get(IDENTITY, held[IDENTITY]) != held[IDENTITY]:
        raise ValueError(
            f"Expected `--storage` to be new, or that of the tuning in {root}, but {_public(url)} holds another tuning "
            f"of the name {plan.name}; another `name` or storage starts a new one."
        )
    return study


def _record(root: Path, plan: Plan) -> dict[str, Any] | None:
    """What an earlier call noted in the folder of a tuning, ``None`` in a new folder; refused if it is of another."""
    path = root / RECORD
    if not path.is_file():
        if (root / "study.json").exists() or holds_run(root):
            raise ValueError(
                f"Expected `--folder` to be a new folder or that of this tuning, but {root} holds another run or study."
            )
        return None
    held = read_json(path)
    if not isinstance(held, dict) or held.get("schema") != SCHEMA or not {"fingerprint", IDENTITY} <= set(held):
        raise ValueError(f"Expected {path} to be a tuning of schema {SCHEMA}, but got another file.")
    if held["fingerprint"] != plan.fingerprint:
        raise ValueError(
            f"Expected {root} to hold the trials of this tuning, but it holds those of another configuration, space, "
            "metric, sampler, pruner, seed or version; `--folder` names another folder."
        )
    return held


def study_of(plan: Plan, url: str, number: int) -> Any:
    """The trials of a plan, for the worker that runs the trial of a number: what it proposes depends on the number."""
    optuna = optuna_module()
    seed = int(np.random.SeedSequence([plan.seed, number]).generate_state(1)[0])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # parts that Optuna calls experimental
        sampler = _sampler(optuna, plan.sampler, seed)
        if number == 0 and plan.defaults is not None:
            sampler = optuna.samplers.PartialFixedSampler(dict(plan.defaults), sampler)
        return optuna.load_study(
            storage=open_storage(url), study_name=plan.name, sampler=sampler, pruner=_pruner(optuna, plan)
        )


def _sampler(optuna: Any, sampler: Sampler, seed: int) -> Any:
    if sampler.name == "random":
        return optuna.samplers.RandomSampler(seed=seed)
    return optuna.samplers.TPESampler(
        n_startup_trials=sampler.startup, multivariate=True, constant_liar=True, seed=seed
    )


def _pruner(optuna: Any, plan: Plan) -> Any:
    least, factor = plan.pruner.min_epochs, plan.pruner.reduction
    if plan.pruner.name == "none":
        return optuna.pruners.NopPruner()
    if plan.pruner.name == "Hyperband":
        return optuna.pruners.HyperbandPruner(min_resource=least, reduction_factor=factor)
    return optuna.pruners.SuccessiveHalvingPruner(min_resource=least, reduction_factor=factor)


def own_trial(study: Any, plan: Plan, number: int) -> tuple[Any, Values]:
    """The trial of a number with its values: one that was interrupted goes on, else a new one is proposed."""
    optuna = optuna_module()
    running = study.get_trials(deepcopy=False, states=(optuna.trial.TrialState.RUNNING,))
    begun = next((one for one in running if one.user_attrs.get(NUMBER) == number), None)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        # A trial that is opened again keeps the values that it has.
        trial = study.ask() if begun is None else optuna.trial.Trial(study, begun._trial_id)
        trial.set_user_attr(NUMBER, number)
        return trial, {name: one.suggest(trial, name) for name, one in plan.dimensions.items()}


def clear(study: Any, total: int) -> list[int]:
    """Numbers that are still to be run; a trial that was interrupted before it had a number is given up."""
    optuna = optuna_module()
    state, ended = optuna.trial.TrialState, set()
    for trial in study.get_trials(deepcopy=False):
        number = trial.user_attrs.get(NUMBER)
        if trial.state.is_finished():
            ended.add(number)
        elif number is None and trial.state == state.RUNNING:
            study.tell(trial.number, state=state.FAIL)
    return [number for number in range(total) if number not in ended]
