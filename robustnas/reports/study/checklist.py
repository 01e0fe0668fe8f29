"""A checklist of good practice in architecture search, filled in from the files of a study; see ``SOURCES``."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from robustnas.analysis.history import part
from robustnas.analysis.metrics import RANKING
from robustnas.reports.study.analysis import ranking
from robustnas.reports.study.study_data import RANDOM, StudyData, evaluations_of
from robustnas.reports.study.study_files import Answer, Found, StudyFiles, agree, if_shown
from robustnas.studies.results import Record

PRODUCED = ("report.html", "tables.md", "results.csv")  # written together with the checklist
SOURCES = (
    "Items A to C are our paraphrase of Lindauer and Hutter, JMLR 2020; D of Yang et al., ICLR 2020; E of Li and "
    "Talwalkar, UAI 2019, and Yu et al., ICLR 2020; F of the protocol of confopt, 2025; G is ours. An item is answered "
    "with yes only if a file proves it. If no file can, the answer is no, and the authors have to answer."
)


@dataclass(frozen=True)
class Item:
    """An item of the list: what it asks for, the answer, and why."""

    name: str  # its letter and number
    asks: str
    answer: Answer
    why: str
    proof: str | None = None  # file in the study's folder that shows it; always there where the answer is yes


def checklist(study: StudyData) -> list[Item]:
    """Every item in order, answered from the files of a study."""
    items = []
    for name, (asks, answer) in _ITEMS.items():
        said, why, proof = answer(StudyFiles(study)) if study.records else ("no", "no trial is finished", None)
        if said == "yes" and not (proof and (proof.partition("#")[0] in PRODUCED or (study.root / proof).exists())):
            said, why, proof = "no", f"no file proves it ({why})", None
        items.append(Item(name, asks, said, why, proof))
    return items


def _the_one(found: Sequence[Any]) -> Any:
    """What is the same for all, or ``None``."""
    return found[0] if all(one == found[0] for one in found) else None


def _same_data(files: StudyFiles) -> Found:
    def roles(record: Record) -> Any:
        held = files.study.manifests[record.folder]
        return _the_one([part(held, folder, "data", "roles") for folder in evaluations_of(record)])

    said: Found = "yes", "hashes of all data roles agree, seed by seed", "manifest.json"
    return agree(files, roles, files.study.seeds, said, "data roles differ, or are not recorded, with seed {seed}")


def _same_machine(files: StudyFiles) -> Found:
    study, records = files.study, files.evaluated or files.searched

    def stages(record: Record) -> list[str]:
        return evaluations_of(record) if files.evaluated else ["search"]

    def machine(record: Record) -> Any:
        held = [part(study.manifests[record.folder], stage) for stage in stages(record)]
        return _the_one([
            one and (one.get("versions"), part(one, "cpu", "model"), one.get("gpus"), record.held["device"])
            for one in held
        ])  # fmt: skip

    if not files.same(machine, records):
        return "no", "hardware or versions differ between trials, or are not recorded", None
    proof = f"{records[0].folder}/{stages(records[0])[0]}/manifest.json"
    return "yes", "the same hardware and versions everywhere", proof


def _same_protocol(files: StudyFiles) -> Found:
    def protocol(record: Record) -> Any:
        found = []
        for folder in evaluations_of(record):
            held = files.config(record, folder)
            own = part(held, "model", "init_args")
            rest = {name: value for name, value in own.items() if name != "architecture"} if own else None
            found.append(rest and (rest, part(held, "trainer")))
        return found if all(found) else None

    said: Found = "yes", "the same settings for all, baselines included", "config.yaml"
    return agree(files, protocol, [None], said, "settings of the evaluation differ, or are not recorded")


def _random(files: StudyFiles) -> Found:
    tasks = files.study.tasks
    missing = [task for task in tasks if not files.study.random(task)]
    without = f"no finished {RANDOM} on {len(missing)} of {len(tasks)} tasks"
    return if_shown(not missing, f"{RANDOM} on every task, with the same training", "results.csv", without)


def _repeated(files: StudyFiles, least: int = 2, why: str = "", searches: bool = False) -> Found:
    """Whether every entry has so many seeds with a score, or so many that searched, one of which was chosen."""
    study = files.study
    among = searches and study.choice is not None
    counts = [
        max(len(study.scores(task, entry)), sum(one.chosen is not None for one in study.of(task, entry)) * among)
        for task in study.tasks
        for entry in study.entries
    ]
    fewest = min(counts, default=0)
    why = why or f"at least {fewest} seeds for each entry, all listed"
    return if_shown(fewest >= least, why, "results.csv", f"the entry with fewest finished seeds has {fewest}")


def _ranked(files: StudyFiles) -> Found:
    name, searches = RANKING.name, len(files.searched)
    held = [record for record in files.searched if files.study.series.get(record.folder, {}).get(name)]
    proof = f"{held[0].folder}/search/metrics.csv" if held else ""
    few = f"{name} in {len(held)} of {searches} searches"
    return if_shown(held and len(held) == searches, f"{name} in each of {len(held)} searches", proof, few)


def _anytime(files: StudyFiles) -> Found:
    held, searches = [record for record in files.searched if record.held["epochs"]], len(files.searched)
    few = f"curves of {len(held)} of {searches} searches"
    return if_shown(held and len(held) == searches, "curves over time of every search", "report.html#anytime", few)


def _table(files: StudyFiles) -> Found:
    proof = f"{next(iter(files.study.truths), '')}/search/truth.json"
    without = "no table of known accuracies was given (--diagnostics.table)"
    return if_shown(files.study.truths, "true accuracy, regret and rank by a table", proof, without)


def _ablated(files: StudyFiles) -> Found:
    varied = any(trial["levels"] for trial in files.study.trials)
    return if_shown(varied, "parts or factors were varied", "study.json", "no parts or factors were varied")


def _two(key: int, what: str, files: StudyFiles) -> Found:
    names = {task[key] for task in files.study.tasks if files.study.scored(task)}
    return if_shown(len(names) > 1, f"{len(names)} {what}", "results.csv", f"fewer than two {what}")


def _searched_again(files: StudyFiles) -> Found:
    return _repeated(files, why="every seed has its own search", searches=True)


def _settings(files: StudyFiles) -> Found:
    fewest = min((len(record.under) for record in files.evaluated), default=0)
    without = "the evaluation has one setting"
    return if_shown(fewest > 1, f"under {fewest} settings, mean and best with n", "results.csv", without)


def _test_unused(files: StudyFiles) -> Found:
    for record in files.searched:
        roles = part(files.study.manifests[record.folder], "search", "data", "roles")
        hashes = [part(roles, name, "sha256") for name in ("weights", "arch", "selection", "test")]
        if None in hashes or len(set(hashes)) < len(hashes):
            return "no", f"roles are not recorded, or not disjoint, in {record.folder}", None
    if not files.searched:
        return "does not apply", "nothing was searched", None
    proof = f"{files.searched[0].folder}/search/manifest.json"
    return "yes", "disjoint data roles; searches never load the test role", proof


def _sharing(files: StudyFiles) -> Found:
    held = [record for record in files.study.records if record.baseline and "shar" in record.variant.casefold()]
    why, proof = (held[0].variant, f"{held[0].folder}/result.json") if held else ("", "")
    return if_shown(held, why, proof, "no finished baseline of random search with weight sharing")


def _gain(files: StudyFiles) -> Found:
    needs = f"needs {RANDOM} and a score for which higher is better"
    return if_shown(any(row.gain for row in files.standings()), "beside every mean", "tables.md", needs)


def _intervals(files: StudyFiles) -> Found:
    known = any(row.summary.interval for row in files.standings())
    return if_shown(known, "with n beside every mean", "tables.md", "no entry has two seeds")


def _tests(files: StudyFiles) -> Found:
    known = any(one.comparisons for one in files.families())
    without = "no entry shares two seeds with the reference"
    return if_shown(known, "sign-flip tests over seeds, Holm's correction", "tables.md", without)


def _power(files: StudyFiles) -> Found:
    without = "no entry shares two seeds with the reference, or nothing varies"
    return if_shown(any(one.power for one in files.families()), "under every leaderboard", "tables.md", without)


def _ranks(files: StudyFiles) -> Found:
    found, _, why = ranking(files.study)
    return ("yes", f"over {found.n} tasks", "report.html#ranks") if found else ("does not apply", why, None)


def _unknown(why: str) -> Callable[[StudyFiles], Found]:
    return lambda files: ("no", why, None)


_ITEMS: dict[str, tuple[str, Callable[[StudyFiles], Found]]] = {
    "A1": ("code of the final training", lambda k: k.versioned(k.evaluated, "evaluation")),
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
    "C1": ("how hyper-parameters were tuned, and at what cost", _unknown("not recorded: state it in the paper")),
    "C2": ("time from end to end", lambda k: ("yes", "search, selection and evaluation of every trial", "results.csv")),
    "C3": ("all details of the setup", lambda k: k.each(k.study.records, "result.json")),
    "D1": ("relative improvement over random", _gain),
    "D2": ("tricks of the training ablated", _unknown("a study has one setting of the evaluation")),
    "D3": ("variance over seeds stated", _intervals),
    "D4": ("random cells in the same macro network", _random),
    "D5": ("rank correlation between depths", _unknown("not measured")),
    "D6": ("more than one data set", lambda k: _two(1, "data sets", k)),
    "E1": ("random search with weight sharing", _sharing),
    "E2": ("rank correlation of supernet and trained networks", _ranked),
    "E3": ("how BatchNorm statistics are kept", lambda k: k.each(k.searched, "search/config.yaml")),
    "E4": ("search repeated, not only the final training", _searched_again),
    "E5": ("no selection on the test set", _test_unused),
    "F1": ("at least three search seeds", lambda k: _repeated(k, 3, searches=True)),
    "F2": ("final training under several hyper-parameters", _settings),
    "F3": ("several sub-spaces", lambda k: _two(0, "spaces", k)),
    "G1": ("mean with a 95 % interval, n stated", _intervals),
    "G2": ("paired tests over seeds with Holm's correction", _tests),
    "G3": ("critical difference or ranks over tasks", _ranks),
    "G4": ("statistical power stated", _power),
    "G5": ("effect sizes beside p-values", _tests),
}
