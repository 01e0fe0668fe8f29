"""A configuration of ``robustnas fit`` as an object: what options mean, and a run of it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pytorch_lightning import Callback

from robustnas.cli import lightning_cli

OWN = ("config", "run_dir", "ckpt_path", "seed_everything")  # of a single run, and no part of its configuration


def configuration(arguments: Sequence[str] | Mapping[str, Any]) -> dict[str, Any]:
    """The complete configuration that options of ``robustnas fit`` mean, without folder and seed.

    Args:
        arguments: The options; or a configuration, whose defaults are filled in.

    Returns:
        The sections by name, defaults included, of what JSON can hold.

    Raises:
        ValueError: If an option is unknown or wrong, in one sentence.
    """
    given = arguments if isinstance(arguments, Mapping) else ["fit", *arguments]
    parsed: Any = lightning_cli.main(given, stop_after="parsing").config.fit
    sections: dict[str, Any] = json.loads(json.dumps(parsed.as_dict(), default=str))
    for name in OWN:
        sections.pop(name, None)
    for name in ("model", "data"):
        (sections[name].get("init_args") or {}).pop("seed", None)
    return sections


def run_of(sections: Mapping[str, Any], folder: Path, seed: int) -> dict[str, Any]:
    """A configuration with folder and seed, as ``main`` takes it; the run resumes where an earlier attempt stopped."""
    return {**sections, "seed_everything": seed, "run_dir": str(folder), "ckpt_path": "auto"}


def fit(
    sections: Mapping[str, Any], folder: Path, seed: int, callbacks: Sequence[Callback] = ()
) -> lightning_cli.RobustCLI:
    """Run a configuration in a folder, from its last checkpoint where there is one.

    Args:
        sections: The configuration.
        folder: Folder of the run.
        seed: Seed of everything.
        callbacks: Callbacks beside those of the configuration.

    Returns:
        The run, after its end.
    """
    return lightning_cli.main(run_of(sections, folder, seed), callbacks=callbacks)
