"""Checks of ``robustnas doctor``: a tiny search, its resume, its gradient, a genotype, two processes, known kernels.

Nothing heavy is imported before a check runs, so that a broken installation fails one line and not the command.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from robustnas.commands.kernels import check_bf16, check_pointwise
from robustnas.verification.attempt import attempt
from robustnas.verification.finding import Finding

PATIENCE = 120  # seconds that two processes have to start, on a slow and busy machine, and to find one another

PROCESS = """
import sys
sys.path[:] = filter(None, sys.path)  # nothing of the current folder
import datetime, torch, torch.distributed as dist
torch.set_num_threads(1)
rank = int(sys.argv[1])
wait = datetime.timedelta(seconds=float(sys.argv[3]))
dist.init_process_group("gloo", init_method="file://" + sys.argv[2], rank=rank, world_size=2, timeout=wait)
tensor = torch.arange(4.0) + rank
dist.all_reduce(tensor)
print(tensor.tolist())
dist.destroy_process_group()
"""


@dataclass(frozen=True)
class Outcome:
    """What came of a check.

    Args:
        name: What was checked.
        passed: Whether it is well.
        seconds: How long it took.
        says: The figures, or the sentence of what went wrong.
    """

    name: str
    passed: bool
    seconds: float
    says: str


def check_imports(folder: Path) -> str:
    """Torch, Lightning and the parts of this library that need them are importable."""
    import torch
    from pytorch_lightning import Trainer

    from robustnas.training import SearchModule  # brings networks, strategies and data

    own = SearchModule.__module__.partition(".")[0]
    return f"torch {torch.__version__}, {Trainer.__module__.partition('.')[0]} and {own} load"


def check_search(folder: Path) -> str:
    """A search twice, and once stopped inside an epoch and resumed: all end alike, bit for bit."""
    from robustnas.verification.repeated import check_repeat, check_resume

    subject = _subject(folder)
    _told(check_repeat(subject))
    _told(check_resume(subject))
    return f"two runs of {subject.size}, and a resumed one: {len(subject.straight)} tensors equal bit for bit"


def check_gradient(folder: Path) -> str:
    """The second-order gradient of α against automatic differentiation and central differences, in float64."""
    from robustnas.verification.hypergradient import check_gradient as compare

    return _told(compare(_subject(folder)))


def check_genotype(folder: Path) -> str:
    """A genotype comes back equal from text, and from a file."""
    from robustnas.runs.record import read_genotype, write_text
    from robustnas.spaces import Choice, Genotype, NASBench201

    cells = {
        kind: tuple(Choice(edge.source, edge.node, edge.operations[-1]) for edge in cell.edges)
        for kind, cell in NASBench201.cells.items()
    }
    genotype = Genotype(NASBench201.name, cells).validate(NASBench201)
    write_text(folder / "genotype.json", genotype.to_json())
    for source, found in {
        "text": Genotype.from_text(str(genotype)),
        "a file": read_genotype(str(folder / "genotype.json")),
    }.items():
        _expect(found == genotype, f"`genotype` to come back from {source} as {genotype}", str(found))
    return "equal after text and after a file"


def check_processes(folder: Path) -> str:
    """Two processes add their tensors over gloo, as searches on several processes do."""
    command = [sys.executable, "-c", PROCESS]
    alone = {name: value for name, value in os.environ.items() if name not in ("MASTER_ADDR", "MASTER_PORT")}
    meeting, environment = str(folder / "meeting"), {**alone, "OMP_NUM_THREADS": "1"}
    running = [
        subprocess.Popen(
            [*command, str(rank), meeting, str(PATIENCE)],
            env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )
        for rank in range(2)
    ]  # fmt: skip
    deadline = time.monotonic() + PATIENCE
    try:
        ends = [process.communicate(timeout=max(0.1, deadline - time.monotonic())) for process in running]
    except subprocess.TimeoutExpired:
        raise ValueError(f"Expected two processes to meet within {PATIENCE} s, but got no answer.") from None
    finally:
        for process in running:
            process.kill()
            process.wait()
    for process, (found, errors) in zip(running, ends, strict=True):
        last = (errors.strip().splitlines() or ["no word"])[-1]
        _expect(process.returncode == 0, "two processes to meet over gloo", last)
        _expect(found.strip() == "[1.0, 3.0, 5.0, 7.0]", "`all_reduce` to give [1.0, 3.0, 5.0, 7.0]", found.strip())
    return "one sum on both, over gloo"


CHECKS: dict[str, Callable[[Path], str]] = {
    "imports": check_imports,
    "search and resume": check_search,
    "hypergradient": check_gradient,
    "genotype": check_genotype,
    "two processes": check_processes,
    "strided 1 x 1 convolution": check_pointwise,
    "bf16-mixed on this CPU": check_bf16,
}


def run_checks() -> Iterator[Outcome]:
    """Run all checks in a folder that is gone afterwards.

    Yields:
        The outcome of each, as soon as it is known. None raises.
    """
    with tempfile.TemporaryDirectory(prefix="robustnas-doctor-") as folder:
        for name, check in CHECKS.items():
            says, seconds, error = attempt(partial(check, Path(folder)))
            yield Outcome(name, not error, seconds, says or error)


def _expect(fulfilled: bool, expected: str, got: str) -> None:
    if not fulfilled:
        raise ValueError(f"Expected {expected}, but got {got}.")


def _subject(folder: Path) -> Any:
    """The search of the self-test: the smallest there is, of the second order."""
    from robustnas.data import Digits
    from robustnas.strategies import Unrolled
    from robustnas.training import SearchModule
    from robustnas.verification.subject import Subject

    search = SearchModule("NASBench201", channels=2, cells=1, image_channels=1, gradient=Unrolled())
    return Subject(search, Digits(), "32-true", "cpu", 1, (), Path(tempfile.mkdtemp(dir=folder)))


def _told(finding: Finding) -> str:
    if finding.status != "passed":
        raise ValueError(finding.fault or f"Expected {finding.compared} to be comparable, but got: {finding.says}")
    figures = ", ".join(f"{name} {one.value:.0e}, at most {one.allowed:g}" for name, one in finding.figures.items())
    return f"{finding.compared}: {figures}"
