"""What the items of the checklist ask of the files of a study."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable
from typing import Any, Literal

from robustnas.analysis.history import part
from robustnas.reports.study.analysis import Family, Standing, family, leaderboard, reference_of
from robustnas.reports.study.study_data import StudyData, evaluations_of
from robustnas.runtime.safe_yaml import read_yaml
from robustnas.studies.results import Record
from robustnas.studies.trial import EVALUATION

Answer = Literal["yes", "no", "does not apply"]
Found = tuple[Answer, str, str | None]  # the answer, why, and the file that shows it


class StudyFiles:
    """A study, with the questions that several items ask of its files."""

    def __init__(self, study: StudyData) -> None:
        self.study = study
        self.searched = [record for record in study.records if not record.baseline]
        self.evaluated = [record for record in study.records if record.held["metrics"]["test"]]

    def each(self, records: Iterable[Record], name: str) -> Found:
        """Whether every one of some trials has a file."""
        places = [self._places(record, name) for record in records]
        if not places:
            return "does not apply", "the study has no such stage", None
        missing = [[at for at in files if not (self.study.root / at).is_file()] for files in places]
        if lacking := [files for files in missing if files]:
            return "no", f"missing in {len(lacking)} of {len(places)} trials, such as {lacking[0][0]}", None
        return "yes", f"in each of {len(places)} trials", places[0][0]

    def _places(self, record: Record, name: str) -> list[str]:
        """A file of a trial, or of each training of what it found."""
        stage, _, file = name.rpartition("/")
        folders = [f"{folder}/{file}" for folder in evaluations_of(record)] if stage == EVALUATION else [name]
        return [f"{record.folder}/{folder}" for folder in folders]

    def versioned(self, records: Iterable[Record], stage: str) -> Found:
        """Whether the manifest of a stage names version or commit in every trial."""
        records = list(records)
        answer, why, proof = self.each(records, f"{stage}/manifest.json")
        if answer != "yes":
            return answer, why, proof
        manifests = [self.study.manifests[record.folder] for record in records]
        held = [one for each in manifests for name, one in each.items() if name.partition("/")[0] == stage]
        dirty = [one for one in held if part(one, "git", "robustnas", "dirty")]
        if dirty:
            return "no", f"{len(dirty)} of {len(held)} trials ran with uncommitted changes", None
        if any(part(one, "git", "robustnas", "commit") is None for one in held):
            return "no", "the commit of robustnas is not recorded for every trial", None
        return "yes", f"version and commit of robustnas, {why}", proof

    def same(self, pick: Callable[[Record], Any], records: list[Record]) -> bool:
        """Whether something is known, and the same, for all of some trials."""
        picked = [repr(pick(record)) for record in records]
        return len(set(picked)) == 1 and "None" not in picked

    def standings(self) -> list[Standing]:
        """The rows of all leaderboards."""
        return [row for task in self.study.tasks for row in leaderboard(self.study, task)]

    def families(self) -> list[Family]:
        """The comparisons with the reference on every task."""
        reference = reference_of(self.study)
        return [family(self.study, task, reference) for task in self.study.tasks] if reference else []

    def config(self, record: Record, stage: str) -> Any:
        """Configuration of a stage, empty where it cannot be read."""
        try:
            return read_yaml(self.study.root / record.folder / stage / "config.yaml")
        except ValueError:
            return None


def if_shown(good: object, why: str, proof: str, otherwise: str) -> Found:
    """Yes with its proof where something is there, else no with another reason."""
    return ("yes", why, proof) if good else ("no", otherwise, None)


def agree(
    files: StudyFiles, pick: Callable[[Record], Any], seeds: Iterable[int | None], said: Found, otherwise: str
) -> Found:
    """What is said where all evaluated trials of a task, and of a seed unless it is ``None``, agree in something."""
    if not files.evaluated:
        return "does not apply", "nothing was trained from scratch", None
    for task, seed in itertools.product(files.study.tasks, seeds):
        trials = [one for one in files.study.of(task) if one in files.evaluated and seed in (None, one.seed)]
        if trials and not files.same(pick, trials):
            return "no", otherwise.format(seed=seed), None
    first = files.evaluated[0]
    return said[0], said[1], f"{first.folder}/{evaluations_of(first)[0]}/{said[2]}"
