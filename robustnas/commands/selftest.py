"""Checks of ``robustnas doctor``: a tiny search, its resume, its gradient, a genotype, two processes, known kernels.

Heavy modules are imported inside the checks, so that a broken installation fails one check and not the command.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from robustnas.runtime.environment import versions
from robustnas.verification.attempt import attempt
from robustnas.verification.finding import Finding

TIMEOUT = 120  # seconds, for a slow and busy machine; the faulty kernel may hang

PROCESS = """
import sys
sys.path[:] = filter(None, sys.path)  # import nothing from the current folder
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

# Uses torch only. The kernels for AVX2 fail on the smaller images, those for AVX-512 on the larger ones.
REPRODUCER = """
import contextlib, torch
with contextlib.suppress(ImportError):
    import resource
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
torch.set_num_threads(1)
torch.manual_seed(0)
def gradient(slope, images, weight):
    rest = None, [2, 2], [0, 0], [1, 1], False, [0, 0], 1, [False, True, False]
    return torch.ops.aten.convolution_backward(slope, images, weight, *rest)[1]
for size in 6 * (16, 64):
    images = torch.randn(32, 4, size, size).contiguous(memory_format=torch.channels_last)
    slope = torch.randn(32, 4, size // 2, size // 2).contiguous(memory_format=torch.channels_last)
    given = slope, images, torch.randn(4, 4, 1, 1)
    error = (gradient(*given) - gradient(*(tensor.double() for tensor in given))).abs().max()
    if not error < 0.1:
        raise SystemExit(f"off by {error:.1e}")
print("right")
"""


@dataclass(frozen=True)
class Outcome:
    """The result of a check: its figures, or the sentence that says what went wrong."""

    name: str
    passed: bool
    seconds: float
    says: str


def check_imports(folder: Path) -> str:
    """Torch, Lightning and the parts of this library that need them can be imported."""
    import torch
    from pytorch_lightning import Trainer

    from robustnas.training import SearchModule  # brings networks, strategies and data

    own = SearchModule.__module__.partition(".")[0]
    return f"torch {torch.__version__}, {Trainer.__module__.partition('.')[0]} and {own} can be imported"


def check_search(folder: Path) -> str:
    """Run a search twice, and once stopped inside an epoch and resumed: all results are equal bit for bit."""
    from robustnas.verification.repeated import check_repeat, check_resume

    subject = _subject(folder)
    _figures(check_repeat(subject))
    _figures(check_resume(subject))
    return f"two runs and a resumed run ({subject.size}): {len(subject.straight)} tensors are equal bit for bit"


def check_gradient(folder: Path) -> str:
    """Compare the second-order gradient of α with automatic differentiation and central differences, in float64."""
    from robustnas.verification.hypergradient import check_gradient as compare

    return _figures(compare(_subject(folder)))


def check_genotype(folder: Path) -> str:
    """Write a genotype as text and to a file, and read it back."""
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
        _expect(found == genotype, f"the genotype read from {source} to be {genotype}", str(found))
    return "equal after writing and reading, as text and as a file"


def check_processes(folder: Path) -> str:
    """Two processes add their tensors over gloo, as searches with several processes do."""
    command = [sys.executable, "-c", PROCESS]
    alone = {name: value for name, value in os.environ.items() if name not in ("MASTER_ADDR", "MASTER_PORT")}
    meeting, environment = str(folder / "meeting"), {**alone, "OMP_NUM_THREADS": "1"}
    running = [
        subprocess.Popen(
            [*command, str(rank), meeting, str(TIMEOUT)],
            env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )
        for rank in range(2)
    ]  # fmt: skip
    deadline = time.monotonic() + TIMEOUT
    try:
        ends = [process.communicate(timeout=max(0.1, deadline - time.monotonic())) for process in running]
    except subprocess.TimeoutExpired:
        raise ValueError(f"Expected two processes to connect within {TIMEOUT} s, but they did not.") from None
    finally:
        for process in running:
            process.kill()
            process.wait()
    for process, (found, errors) in zip(running, ends, strict=True):
        last = (errors.strip().splitlines() or ["no output"])[-1]
        _expect(process.returncode == 0, "two processes to connect over gloo", last)
        _expect(found.strip() == "[1.0, 3.0, 5.0, 7.0]", "`all_reduce` to give [1.0, 3.0, 5.0, 7.0]", found.strip())
    return "both processes computed the same sum over gloo"


def check_pointwise(folder: Path) -> str:
    """Check whether torch corrupts memory in the strided 1 x 1 convolution, which this library avoids."""
    command = [sys.executable, "-c", REPRODUCER]
    try:
        done = subprocess.run(
            command, cwd=folder, stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace",
            timeout=TIMEOUT,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        return _faulty(f"did not finish within {TIMEOUT} s")
    if done.returncode == 0 and done.stdout.strip() == "right":
        return "the float32 weight gradient is correct"
    if done.returncode < 0:
        return _faulty(f"was killed by {signal.Signals(-done.returncode).name}")
    last = (done.stderr.strip().splitlines() or ["no output"])[-1]
    if last.startswith("off by"):
        return _faulty(f"computed a gradient that is {last}")
    if done.returncode != 1:  # that of an exception
        return _faulty(f"ended with status {done.returncode}")
    raise ValueError(f"Expected the reproducer to run, but got: {last}")


def _faulty(how: str) -> str:
    return (
        f"torch {versions()['torch']} corrupts memory in this convolution on this CPU (the child process {how}). "
        "robustnas never calls it; in your own code, subsample the image first: docs/guides/precision.md"
    )


def check_bf16(folder: Path) -> str:
    """Measure how fast ``bf16-mixed`` is, and whether the CPU has instructions for it."""
    from robustnas.training.bf16 import native_bf16, probe_bf16

    native, found = native_bf16(), probe_bf16()
    has = {True: "this CPU has", False: "this CPU has no", None: "unknown whether this CPU has"}[native]
    return f"{has} instructions for bfloat16; bf16-mixed takes {found}"


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
    """Run all checks in a temporary folder, and yield each outcome as soon as it is known. None raises."""
    with tempfile.TemporaryDirectory(prefix="robustnas-doctor-") as folder:
        for name, check in CHECKS.items():
            says, seconds, error = attempt(partial(check, Path(folder)))
            yield Outcome(name, not error, seconds, says or error)


def _expect(fulfilled: bool, expected: str, got: str) -> None:
    if not fulfilled:
        raise ValueError(f"Expected {expected}, but got {got}.")


def _subject(folder: Path) -> Any:
    from robustnas.data import Digits
    from robustnas.strategies import Unrolled
    from robustnas.training import SearchModule
    from robustnas.verification.subject import Subject

    search = SearchModule("NASBench201", channels=2, cells=1, image_channels=1, gradient=Unrolled())
    return Subject(search, Digits(), "32-true", "cpu", 1, (), Path(tempfile.mkdtemp(dir=folder)))


def _figures(finding: Finding) -> str:
    if finding.status != "passed":
        raise ValueError(finding.fault or f"Expected the check to apply, but got: {finding.says}")
    figures = ", ".join(f"{name} {one.value:.0e} (allowed: {one.allowed:g})" for name, one in finding.figures.items())
    return f"{finding.compared}: {figures}"
