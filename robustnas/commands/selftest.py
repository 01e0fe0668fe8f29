"""Checks of ``robustnas doctor``: a tiny search, its resume, its gradient, a genotype, two processes; in seconds.

Nothing heavy is imported before a check runs, so that a broken installation fails one line and not the command.
"""

from __future__ import annotations

import contextlib
import io
import logging
import os
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

TOLERANCE = 1e-6  # of the hypergradient, relative: central differences in float64 are exact to about 1e-9
PATIENCE = 15  # seconds that two processes have to find one another

PROCESS = """
import datetime, sys, torch, torch.distributed as dist
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
    """A search of one epoch, and one step of it again from a checkpoint inside the epoch, bit for bit."""
    import torch

    whole = _fit(folder / "whole")
    steps = whole.global_step
    before = folder / "whole" / f"step={steps - 1}.ckpt"
    _expect(steps > 1 and before.is_file(), "`search` to leave a checkpoint after each step", f"{steps} steps without")
    resumed = _fit(folder / "resumed", before)
    _expect(resumed.global_step == steps, f"`resume` to end at step {steps}", f"step {resumed.global_step}")
    expected, found = _numbers(whole), _numbers(resumed)
    differing = [name for name in expected if name not in found or not torch.equal(expected[name], found[name])]
    _expect(
        expected.keys() == found.keys() and not differing,
        "`resume` to leave every number as the undisturbed search does",
        f"{len(differing)} tensors that differ, the first {next(iter(differing), 'one that is new')}",
    )
    return f"{steps} steps on Digits; one step again from a checkpoint: {len(expected)} tensors equal bit for bit"


def check_gradient(folder: Path) -> str:
    """The second-order gradient of α against central differences of what it derives, in float64."""
    import torch
    from torch.autograd import grad

    from robustnas.networks.statistics import still_statistics
    from robustnas.strategies import Bilevel, Step, Unrolled

    draw = torch.Generator().manual_seed(0)
    search = _search().double()
    weights = dict(search.supernet.named_parameters())
    (a,) = search.arch_parameters
    batches = [_batch(draw), _batch(draw)]
    step = Step(lr=0.1, momentum=0.9, weight_decay=3e-4, nesterov=False, buffers={})

    def loss(batch: Any, at: Any) -> Any:
        return search.loss(batch, search.mixtures(search.moment("arch")), at)

    def after_a_step(shift: Any) -> float:
        with torch.no_grad():
            a.add_(shift)
        slopes = grad(loss(batches[1], weights), list(weights.values()), materialize_grads=True)
        moved = {
            n: w - step.lr * (s + step.weight_decay * w) for (n, w), s in zip(weights.items(), slopes, strict=True)
        }
        value = float(loss(batches[0], moved).detach())
        with torch.no_grad():
            a.sub_(shift)
        return value

    with still_statistics(search.supernet):
        problem = Bilevel(lambda at: loss(batches[0], at), lambda at: loss(batches[1], at), weights, [a], step, list)
        gradient = Unrolled().of(problem)[0][0]
        worst, size = 0.0, 1e-6  # larger steps leave the stretch where ReLUs stay on their side
        for _ in range(3):
            direction = torch.randn(a.shape, dtype=a.dtype, generator=draw)
            difference = (after_a_step(size * direction) - after_a_step(-size * direction)) / (2 * size)
            scale = float(gradient.norm() * direction.norm())
            worst = max(worst, abs(float((gradient * direction).sum()) - difference) / scale)
    _expect(worst <= TOLERANCE, f"`hypergradient` to be within {TOLERANCE:g} of differences", f"{worst:.1e}")
    return f"exact second order against differences in float64: {worst:.0e} relative, at most {TOLERANCE:g} allowed"


def check_genotype(folder: Path) -> str:
    """A genotype comes back equal from text, and from a file."""
    from robustnas.record import read_genotype, write_text
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
}


def run_checks() -> Iterator[Outcome]:
    """Run all checks in a folder that is gone afterwards.

    Yields:
        The outcome of each, as soon as it is known. None raises.
    """
    with tempfile.TemporaryDirectory(prefix="robustnas-doctor-") as folder:
        for name, check in CHECKS.items():
            start = time.perf_counter()
            try:
                with _quiet():
                    passed, says = True, check(Path(folder))
            except (Exception, SystemExit) as error:  # whatever is broken here is what is to be told
                passed, says = False, _sentence(error)
            yield Outcome(name, passed, round(time.perf_counter() - start, 2), says)


def _sentence(error: BaseException) -> str:
    said = " ".join(str(error).split())
    if "torchvision" in said:
        return f"Expected torch and torchvision to fit, but got: {said} Remedy: pip uninstall torchvision."
    return said if said.startswith("Expected ") else f"Expected no error, but got {type(error).__name__}: {said}"


def _expect(fulfilled: bool, expected: str, got: str) -> None:
    if not fulfilled:
        raise ValueError(f"Expected {expected}, but got {got}.")


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Nothing but the outcomes on the screen, one thread, and the generator of torch as it was."""
    lightning = [logging.getLogger(name) for name in ("pytorch_lightning", "lightning.pytorch")]
    levels = [logger.level for logger in lightning]
    for logger in lightning:
        logger.setLevel(logging.ERROR)
    torch = sys.modules.get("torch")
    threads, state = (torch.get_num_threads(), torch.get_rng_state()) if torch else (None, None)
    if torch:
        torch.set_num_threads(1)  # so small a network gains nothing from threads, and loses where cores are busy
    silence = io.StringIO()
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(silence), contextlib.redirect_stderr(silence):
            warnings.simplefilter("ignore")
            yield
    finally:
        if torch:
            torch.set_num_threads(threads)
            torch.set_rng_state(state)
        for logger, level in zip(lightning, levels, strict=True):
            logger.setLevel(level)


def _search() -> Any:
    from robustnas.strategies import Unrolled
    from robustnas.training import SearchModule

    return SearchModule("NASBench201", channels=2, cells=1, image_channels=1, gradient=Unrolled())


def _batch(draw: Any) -> Any:
    import torch

    from robustnas.data import Batch

    images = torch.randn(4, 1, 8, 8, dtype=torch.float64, generator=draw)
    return Batch(images, torch.randint(10, (4,), generator=draw), torch.tensor(0))


def _fit(folder: Path, checkpoint: Path | None = None) -> Any:
    from lightning_fabric.plugins.environments.lightning import LightningEnvironment
    from pytorch_lightning import Trainer
    from pytorch_lightning.callbacks import ModelCheckpoint

    from robustnas.data import Digits

    trainer = Trainer(
        accelerator="cpu", devices=1, max_epochs=1, logger=False, default_root_dir=folder,
        use_distributed_sampler=False, enable_progress_bar=False, enable_model_summary=False, num_sanity_val_steps=0,
        plugins=[LightningEnvironment()],  # this process alone, also inside a job of many
        callbacks=[ModelCheckpoint(folder, "{step}", every_n_train_steps=1, save_top_k=-1)],
    )  # fmt: skip
    search = _search()
    if checkpoint is not None:
        for parameter in search.parameters():
            parameter.data += 1.0  # only the checkpoint can tell the right ones
    trainer.fit(search, Digits(batch_size=16, fractions=(0.04, 0.03, 0.02)), ckpt_path=checkpoint and str(checkpoint))
    return trainer


def _numbers(trainer: Any) -> dict[str, Any]:
    """All a search consists of: weights, α, running statistics, and what the optimisers hold."""
    import torch

    numbers = {f"state {name}": value.clone() for name, value in trainer.lightning_module.supernet.state_dict().items()}
    numbers |= {f"alpha {kind}": a.detach().clone() for kind, a in trainer.lightning_module.alphas.items()}
    for k, optimizer in enumerate(trainer.optimizers):
        for index, held in optimizer.state_dict()["state"].items():
            numbers |= {f"optimizer {k} {index} {name}": torch.as_tensor(value) for name, value in held.items()}
    return numbers
