"""A checklist of good practice in architecture search, filled in from what lies in the folder of a study.

The items are our paraphrase of Lindauer and Hutter, "Best Practices for Scientific Research on Neural Architecture
Search", JMLR 2020 (A to C); Yang et al., "NAS evaluation is frustratingly hard", ICLR 2020 (D); Li and Talwalkar, UAI
2019, and Yu et al., ICLR 2020 (E); the protocol of confopt, 2025 (F); and what the statistics here add (G). An item is
answered yes only where a file proves it, and no where that cannot be known from files.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Literal

from robustnas.reports.search_data import part
from robustnas.reports.study.analysis import family, leaderboard, ranking, reference_of
from robustnas.reports.study.study_data import RANDOM, StudyData
from robustnas.runtime.safe_yaml import read_yaml
from robustnas.studies.results import Record

Answer = Literal["yes", "no", "does not apply"]
PRODUCED = ("report.html", "tables.md", "results.csv")  # written together with the checklist
Found = tuple[Answer, str, str | None]


@dataclass(frozen=True)
class Item:
    """An item of the list.

    Args:
        name: Its letter and number.
        asks: What it asks for.
        answer: Whether that was done.
        why: In a few words.
        proof: File inside the study's folder that shows it; always there where the answer is yes.
    """

    name: str
    asks: str
    answer: Answer
    why: str
    proof: str | None = None


def checklist(study: StudyData) -> list[Item]:
    """Fill in the list.

    Args:
        study: The study.

    Returns:
        Every item in order.
    """
    items = []
    for name, (asks, answer) in _ITEMS.items():
        said, why, proof = answer(_Look(study)) if study.records else ("no", "no cell is finished", None)
        if said == "yes" and not (proof and (proof.partition("#")[0] in PRODUCED or (study.root / proof).exists())):
            said, why, proof = "no", f"nothing in the folder shows it ({why})", None
        items.append(Item(name, asks, said, why, proof))
    return items


class _Look:
    """Questions that several items ask."""

    def __init__(self, study: StudyData) -> None:
        self.study = study
        self.searched = [record for record in study.records if not record.baseline]
        self.evaluated = [record for record in study.records if record.held["metrics"]["test"]]

    def each(self, records: Iterable[Record], name: str) -> Found:
        """Whether a file is there in every one of some cells."""
        places = [f"{record.folder}/{name}" for record in records]
        if not places:
            return "does not apply", "the study has no such stage", None
        lacking = [place for place in places if not (self.study.root / place).is_file()]
        if lacking:
            return "no", f"missing in {len(lacking)} of {len(places)} cells, such as {lacking[0]}", None
        return "yes", f"in each of {len(places)} cells", places[0]

    def versioned(self, records: Iterable[Record], stage: str) -> Found:
        """Whether the manifest of a stage names version or commit in every cell."""
        records = list(records)
        answer, why, proof = self.each(records, f"{stage}/manifest.json")
        if answer != "yes":
            return answer, why, proof
        held = [self.study.manifests[record.folder][stage] for record in records]
        dirty = [one for one in held if part(one, "git", "robustnas", "dirty")]
        if dirty:
            return "no", f"{len(dirty)} of {len(held)} cells ran with uncommitted changes", None
        if any(part(one, "git", "robustnas", "commit") is None for one in held):
            return "no", "the commit of robustnas is not recorded in every cell", None
        return "yes", f"version and commit of robustnas, {why}", proof

    def same(self, pick: Callable[[Record], Any], records: list[Record]) -> bool:
        """Whether something is the same in all of some cells, and known."""
        picked = [repr(pick(record)) for record in records]
        return len(set(picked)) == 1 and "None" not in picked

    def config(self, record: Record, stage: str) -> Any:
        """Configuration of a stage, empty where it cannot be read."""
        path = self.study.root / record.folder / stage / "config.yaml"
        try:
            return read_yaml(path)
        except ValueError:
            return None


def _same_data(look: _Look) -> Found:
    study = look.study
    if not look.evaluated:
        return "does not apply", "nothing was trained from scratch", None
    for task in study.tasks:
        for seed in study.seeds:
            cells = [r for r in study.of(task) if r.seed == seed and r in look.evaluated]
            if cells and not look.same(lambda r: part(study.manifests[r.folder], "evaluation", "data", "roles"), cells):
                return "no", f"data roles differ, or are not recorded, with seed {seed}", None
    return "yes", "hashes of all data roles agree, seed by seed", f"{look.evaluated[0].folder}/evaluation/manifest.json"


def _same_machine(look: _Look) -> Found:
    study, records = look.study, look.evaluated or look.searched
    stage = "evaluation" if look.evaluated else "search"

    def machine(record: Record) -> Any:
        held = part(study.manifests[record.folder], stage)
        return held and (held.get("versions"), part(held, "cpu", "model"), held.get("gpus"), record.held["device"])

    if not look.same(machine, records):
        return "no", "hardware or versions differ between cells, or are not recorded", None
    return "yes", "one hardware, one set of versions", f"{records[0].folder}/{stage}/manifest.json"


def _same_protocol(look: _Look) -> Found:
    if not look.evaluated:
        return "does not apply", "nothing was trained from scratch", None

    def protocol(record: Record) -> Any:
        held = look.config(record, "evaluation")
        own = part(held, "model", "init_args")
        rest = {name: value for name, value in own.items() if name != "architecture"} if own else None
        return rest and (rest, part(held, "trainer"))

    for task in look.study.tasks:
        cells = [record for record in look.study.of(task) if record in look.evaluated]
        if cells and not look.same(protocol, cells):
            return "no", "recipes of the evaluation differ, or are not recorded", None
    return "yes", "one recipe for all, baselines included", f"{look.evaluated[0].folder}/evaluation/config.yaml"


def _random(look: _Look) -> Found:
    missing = [task for task in look.study.tasks if not look.study.random(task)]
    if missing:
        return "no", f"no finished {RANDOM} on {len(missing)} of {len(look.study.tasks)} tasks", None
    return "yes", f"{RANDOM} on every task, trained alike", "results.csv"


def _repeated(look: _Look, least: int = 2) -> Found:
    study = look.study
    fewest = min(
        (len(study.scores(task, entry)) for task in study.tasks for entry in study.entries), default=0
    )  # fmt: skip
    if fewest < least:
        return "no", f"the entry with fewest finished seeds has {fewest}", None
    return "yes", f"at least {fewest} seeds each, all listed", "results.csv"


def _searches_repeated(look: _Look) -> Found:
    answer, why, proof = _repeated(look)
    return (answer, "every seed is a search of its own", proof) if answer == "yes" else (answer, why, proof)


def _logged(series: str, look: _Look) -> Found:
    held = [record for record in look.searched if look.study.series.get(record.folder, {}).get(series)]
    if not held or len(held) < len(look.searched):
        return "no", f"{series} in {len(held)} of {len(look.searched)} searches", None
    return "yes", f"{series} in each of {len(held)} searches", f"{held[0].folder}/search/metrics.csv"


def _anytime(look: _Look) -> Found:
    held = [record for record in look.searched if record.held["epochs"]]
    if not held or len(held) < len(look.searched):
        return "no", f"curves of {len(held)} of {len(look.searched)} searches", None
    return "yes", "curves over time of every search", "report.html#anytime"


def _table(look: _Look) -> Found:
    if not look.study.truths:
        return "no", "no table of known accuracies was given (--diagnostics.table)", None
    return "yes", "true accuracy, regret and rank by a table", f"{next(iter(look.study.truths))}/search/truth.json"


def _ablated(look: _Look) -> Found:
    if any(cell["levels"] for cell in look.study.cells):
        return "yes", "parts or factors were varied", "study.json"
    return "no", "no parts or factors were varied", None


def _two(key: int, what: str, look: _Look) -> Found:
    names = {task[key] for task in look.study.tasks if look.study.scored(task)}
    return ("yes", f"{len(names)} {what}", "results.csv") if len(names) > 1 else ("no", f"fewer than two {what}", None)


def _untouched(look: _Look) -> Found:
    for record in look.searched:
        roles = part(look.study.manifests[record.folder], "search", "data", "roles")
        hashes = [part(roles, name, "sha256") for name in ("weights", "arch", "selection", "test")]
        if None in hashes or len(set(hashes)) < len(hashes):
            return "no", f"roles are not recorded, or not disjoint, in {record.folder}", None
    if not look.searched:
        return "does not apply", "nothing was searched", None
    proof = f"{look.searched[0].folder}/search/manifest.json"
    return "yes", "disjoint data roles; searches never load the test role", proof


def _sharing(look: _Look) -> Found:
    held = [record for record in look.study.records if record.baseline and "shar" in record.variant.casefold()]
    if held:
        return "yes", held[0].variant, f"{held[0].folder}/result.json"
    return "no", "no finished baseline of random search with weight sharing", None


def _gain(look: _Look) -> Found:
    rows = [row for task in look.study.tasks for row in leaderboard(look.study, task)]
    if any(row.gain for row in rows):
        return "yes", "beside every mean", "tables.md"
    return "no", f"needs {RANDOM} and a score of which more is better", None


def _tests(look: _Look, power: bool = False) -> Found:
    reference = reference_of(look.study)
    found = [family(look.study, task, reference) for task in look.study.tasks] if reference else []
    if power:
        return ("yes", "under every leaderboard", "tables.md") if any(one.power for one in found) else (
            "no", "no entry shares two seeds with the reference, or nothing varies", None)  # fmt: skip
    if any(one.comparisons for one in found):
        return "yes", "sign-flip tests over seeds, Holm's correction", "tables.md"
    return "no", "no entry shares two seeds with the reference", None


def _intervals(look: _Look) -> Found:
    rows = [row for task in look.study.tasks for row in leaderboard(look.study, task)]
    if any(row.summary.interval for row in rows):
        return "yes", "with n beside every mean", "tables.md"
    return "no", "no entry has two seeds", None


def _ranks(look: _Look) -> Found:
    found, _, why = ranking(look.study)
    return ("yes", f"over {found.n} tasks", "report.html#ranks") if found else ("does not apply", why, None)


def _unknown(why: str) -> Callable[[_Look], Found]:
    return lambda look: ("no", why, None)


_ITEMS: dict[str, tuple[str, Callable[[_Look], Found]]] = {
    "A1": ("code of the training that evaluates final architectures", lambda k: k.versioned(k.evaluated, "evaluation")),
    "A2": ("code of the search space", lambda k: k.versioned(k.searched, "search")),
    "A3": ("hyper-parameters and seeds of the evaluation", lambda k: k.each(k.evaluated, "evaluation/config.yaml")),
    "A4": ("code of the search method", lambda k: k.versioned(k.searched, "search")),
    "A5": ("hyper-parameters and seeds of the search", lambda k: k.each(k.searched, "search/config.yaml")),
    "B1": ("same data and splits for all methods", _same_data),
    "B2": ("confounders controlled: hardware, versions", _same_machine),
    "B3": ("ablation studies run", _ablated),
    "B4": ("same evaluation protocol for all methods", _same_protocol),
    "B5": ("performance over time, not only at the end", _anytime),
    "B6": ("compared with random architectures", _random),
    "B7": ("several runs, seeds reported", _repeated),
    "B8": ("a tabular benchmark, for studies in depth", _table),
    "C1": ("how hyper-parameters were tuned, and at what cost", _unknown("not recorded: say it in the paper")),
    "C2": ("time from end to end", lambda k: ("yes", "search, selection and evaluation of every cell", "results.csv")),
    "C3": ("all details of the set-up", lambda k: k.each(k.study.records, "result.json")),
    "D1": ("relative improvement over random", _gain),
    "D2": ("tricks of the protocol ablated", _unknown("the evaluation is one recipe in a study")),
    "D3": ("variance over seeds stated", _intervals),
    "D4": ("random cells in the same macro network", _random),
    "D5": ("rank correlation between depths", _unknown("not measured")),
    "D6": ("more than one data set", lambda k: _two(1, "data sets", k)),
    "E1": ("random search with weight sharing", _sharing),
    "E2": ("rank correlation of supernet and trained networks", lambda k: _logged("ranking/tau", k)),
    "E3": ("how BatchNorm statistics are kept", lambda k: k.each(k.searched, "search/config.yaml")),
    "E4": ("search repeated, not only the final training", _searches_repeated),
    "E5": ("no selection on the test set", _untouched),
    "F1": ("at least three search seeds", lambda k: _repeated(k, 3)),
    "F2": ("final training under several hyper-parameters", _unknown("the evaluation is one recipe in a study")),
    "F3": ("several sub-spaces", lambda k: _two(0, "spaces", k)),
    "G1": ("mean with a 95 % interval, n stated", _intervals),
    "G2": ("paired tests over seeds with Holm's correction", _tests),
    "G3": ("critical difference or ranks over tasks", _ranks),
    "G4": ("what so few seeds cannot show", lambda k: _tests(k, power=True)),
    "G5": ("effect sizes beside p-values", _tests),
}
