"""The maker of the embedded table: distinct functions, stacked networks, parts that can be killed at any moment."""

from __future__ import annotations

import json
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from digits_recipe import Recipe, Task
from digits_report import spread_of_seeds
from distinct_cells import canonical_form, representatives
from grouped_conv import COMPILED, grouped_conv2d
from make_digits_table import Run, append, check_folder, open_part, pending, read_parts, train_part
from stacked_cells import StackedNetworks

from robustnas.data import ClutteredDigits
from robustnas.networks import DiscreteNetwork
from robustnas.spaces import Choice, Genotype, NASBench201, decode, random_genotype

ROOT = Path(__file__).resolve().parents[1]
TINY = Recipe(epochs=1, batch_size=128)


OPERATIONS = {
    "-": "none", "s": "skip_connect", "1": "nor_conv_1x1", "3": "nor_conv_3x3", "p": "avg_pool_3x3",
}  # fmt: skip


def cell_of(letters: str) -> Genotype:
    """A cell by the letters of its edges 0-1, 0-2, 1-2, 0-3, 1-3, 2-3."""
    edges = [(source, node) for node in (1, 2, 3) for source in range(node)]
    choices = [Choice(*edge, OPERATIONS[letter]) for edge, letter in zip(edges, letters, strict=True)]
    return Genotype("NASBench201", {"cell": tuple(choices)})


def network(genotype: Genotype, cells: int = 1) -> DiscreteNetwork:
    return DiscreteNetwork(NASBench201, genotype, channels=4, cells=cells, num_classes=10, image_channels=1).double()


@pytest.mark.parametrize(
    ("one", "other", "equal"),
    [
        ("-33---", "------", True),  # no path to the output
        ("--3--3", "------", True),  # nor from the input
        ("s-3--s", "---3--", True),
        ("ss--1-", "---1--", True),
        ("sss--1", "---1--", True),  # of a multiple of the input
        ("3--ss-", "-3-s-s", True),
        ("sp--3p", "sp--3-", False),
        ("3ss-ss", "33----", False),
        ("3-s-ss", "33--ss", False),  # one convolution, twice, is not two convolutions
        ("s--ss-", "---s--", False),  # nothing normalises twice the input
        ("1---s-", "3---s-", False),
        ("3-p--s", "3---p-", True),
        ("33s--p", "33-pss", False),
        ("33s--p", "33--pp", True),  # pooling a sum is summing the pooled
    ],
)
def test_cells_with_one_function_have_one_form(one: str, other: str, equal: bool) -> None:
    assert (canonical_form(cell_of(one)) == canonical_form(cell_of(other))) is equal


@pytest.mark.slow
def test_there_are_4954_functions_and_representatives_compute_them() -> None:
    found = representatives()
    assert len(found) == 15625
    counts = Counter(found)
    assert len(counts) == 4954
    assert all(found[cell] == cell for cell in counts)
    assert all(
        canonical_form(decode(found[cell], NASBench201)) == canonical_form(decode(cell, NASBench201))
        for cell in range(0, 15625, 50)
    )


@pytest.mark.parametrize(
    ("one", "other", "renamed"),
    [
        ("s-3--s", "---3--", {"1-2": "0-3"}),
        ("sss--1", "---1--", {"2-3": "0-3"}),
        ("3--ss-", "-3-s-s", {"0-1": "0-2"}),
        ("33s--p", "33--pp", {}),
        ("3-p--s", "3---p-", {}),
    ],
)
def test_equal_forms_compute_the_same(one: str, other: str, renamed: dict[str, str]) -> None:
    """With the same kernels, on edges that may have other names; up to the epsilon of BatchNorm."""
    first, second = network(cell_of(one)), network(cell_of(other))
    weights = first.edgewise_state_dict()
    for old, new in renamed.items():
        weights = {name.replace(f"edge.{old}", f"edge.{new}"): value for name, value in weights.items()}
    second.load_edgewise_state_dict(weights)
    images = torch.rand(16, 1, 12, 12, dtype=torch.float64)
    assert torch.allclose(first(images), second(images), atol=1e-4)


@pytest.mark.parametrize(("training", "repeats"), [(True, 2), (False, 2), (True, 1)])
def test_stacked_networks_are_the_discrete_networks(training: bool, repeats: int) -> None:
    generator = random.Random(3)
    cells = [random_genotype(NASBench201, generator) for _ in range(6)] + [decode(0, NASBench201)]
    networks = [network(cell, repeats).train(training) for cell in cells]
    stacked = StackedNetworks(networks, repeats).double().train(training)
    torch.manual_seed(0)
    images, labels = torch.rand(8, 1, 12, 12, dtype=torch.float64), torch.randint(10, (8,))
    alone = torch.stack([one(images) for one in networks])
    together = stacked(images)
    assert torch.allclose(together, alone, rtol=1e-11, atol=1e-12)
    if training:
        loss = torch.nn.functional.cross_entropy
        loss(together.flatten(0, 1), labels.repeat(len(cells))).mul(len(cells)).backward()
        sum(loss(one, labels) for one in alone).backward()
        kernels = [one.get_submodule("body.stem.conv").weight for one in networks]
        wanted = torch.cat([torch.zeros_like(one) if one.grad is None else one.grad for one in kernels])
        assert torch.allclose(stacked.stem.weight.grad, wanted, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize(("size", "stride", "out"), [(3, 1, 4), (3, 2, 8), (1, 1, 4), (1, 2, 8)])
def test_matrix_products_are_the_grouped_convolution(size: int, stride: int, out: int) -> None:
    x = torch.randn(3, 5 * 4, 7, 6, dtype=torch.float64)
    weight = torch.randn(5 * out, 4, size, size, dtype=torch.float64)
    wanted = torch.nn.functional.conv2d(x, weight, None, stride, size // 2, 1, 5)
    assert torch.allclose(grouped_conv2d(x, weight, stride, 5), wanted)


@pytest.mark.slow
@pytest.mark.skipif(not torch.cuda.is_available(), reason="the kernels need a GPU")
@pytest.mark.parametrize("channels", COMPILED)
@pytest.mark.parametrize("size", [1, 3])
def test_kernels_are_the_grouped_convolution(channels: int, size: int) -> None:
    shapes = (5, 7 * channels, 12, 11), (7 * channels, channels, size, size), (5, 7 * channels, 12, 11)
    x, weight, gradient = (torch.randn(shape, device="cuda") for shape in shapes)
    exact = [value.double().requires_grad_() for value in (x, weight)]
    wanted = torch.nn.functional.conv2d(*exact, None, 1, size // 2, 1, 7)
    x.requires_grad_()
    weight.requires_grad_()
    found = grouped_conv2d(x, weight, 1, 7)
    pairs = zip(
        (found, *torch.autograd.grad(found, [x, weight], gradient)),
        (wanted, *torch.autograd.grad(wanted, exact, gradient.double())),
        strict=True,
    )
    assert all((one - other).norm() <= 1e-6 * other.norm() for one, other in pairs)


def test_the_learning_rate_rises_and_falls_to_zero() -> None:
    recipe = Recipe()
    rates = [recipe.factor(done) for done in np.linspace(0, 1, 101)]
    assert rates[0] == 0
    assert rates[-1] == pytest.approx(0)
    assert max(rates) == rates[20] == pytest.approx(1)
    order = list(recipe.steps(130, seed=0))
    assert len(order) == recipe.epochs * (130 // recipe.batch_size)
    assert [one.tolist() for _, one in order] == [one.tolist() for _, one in recipe.steps(130, seed=0)]


@pytest.fixture(scope="module")
def small() -> ClutteredDigits:
    return ClutteredDigits(drawings=1, test_drawings=1)


@pytest.mark.slow
def test_training_side_by_side_is_training_alone(small: ClutteredDigits) -> None:
    """Up to rounding: the count of correct images may differ by a few of 599."""
    torch.set_num_threads(1)
    generator = random.Random(4)
    cells = [random_genotype(NASBench201, generator) for _ in range(3)]
    task = Task.load(small)
    together = TINY.train(cells, task, seed=0)
    alone = [TINY.train([cell], task, seed=0)[0] for cell in cells]
    assert np.abs(np.subtract(together, alone)).max() <= 6


@pytest.mark.slow
def test_a_finished_run_is_not_repeated_and_a_cut_line_is(tmp_path: Path, small: ClutteredDigits) -> None:
    runs = [Run(cell, seed) for seed in (0, 1) for cell in (7, 100, 9292)]
    train_part(tmp_path, runs[:3], "0-of-1", TINY, small)
    path = tmp_path / "part-0-of-1.jsonl"
    first = path.read_text()
    lines = first.splitlines()
    path.write_text("\n".join(lines[:2]) + "\n" + lines[2][:9])
    assert set(read_parts(tmp_path)) == set(runs[:2])
    train_part(tmp_path, runs, "0-of-1", TINY, small)
    done = read_parts(tmp_path)
    assert set(done) == set(runs)
    valid = [json.loads(line) for line in path.read_text().splitlines() if line.endswith("}")]
    assert len(valid) == len(runs)  # nothing twice
    again = {Run(entry["cell"], entry["seed"]): entry["correct"] for entry in map(json.loads, lines)}
    assert all(abs(done[run]["correct"] - correct) <= 6 for run, correct in again.items())
    before = path.read_text()
    train_part(tmp_path, runs, "0-of-1", TINY, small)
    assert path.read_text() == before


def test_runs_of_one_seed_are_made_together() -> None:
    runs = [Run(1, 0), Run(2, 0), Run(1, 1), Run(3, 0), Run(4, 0)]
    assert pending(runs, {}, 3) == [Run(1, 0), Run(2, 0), Run(3, 0)]
    assert pending(runs, dict.fromkeys([runs[0], runs[1]]), 3) == [Run(1, 1)]
    assert pending(runs, dict.fromkeys(runs), 3) == []


def test_another_recipe_or_a_second_writer_is_refused(tmp_path: Path) -> None:
    check_folder(tmp_path, {"recipe": 1})
    check_folder(tmp_path, {"recipe": 1})
    with pytest.raises(SystemExit, match="to be of this task and recipe, but it differs"):
        check_folder(tmp_path, {"recipe": 2})
    path = tmp_path / "part-0-of-1.jsonl"
    with open_part(path) as file:
        append(file, [{"cell": 1, "seed": 0, "correct": 5, "seconds": 0.1}])
        with pytest.raises(SystemExit, match="no other process to write"), open_part(path):
            pass
    assert set(read_parts(tmp_path)) == {Run(1, 0)}


KILLED = """
import sys
sys.path.insert(0, {benchmarks!r})
from pathlib import Path
from digits_recipe import Recipe
from make_digits_table import Run, train_part
from robustnas.data import ClutteredDigits
runs = [Run(cell, 0) for cell in range(0, 15000, 1000)]
train_part(Path({folder!r}), runs, "0-of-1", Recipe(epochs=1, batch_size=128), ClutteredDigits(1, 1), together=1)
"""


@pytest.mark.slow
def test_a_killed_maker_goes_on_where_it_was(tmp_path: Path) -> None:
    code = KILLED.format(benchmarks=str(ROOT / "benchmarks"), folder=str(tmp_path))
    path = tmp_path / "part-0-of-1.jsonl"
    maker = subprocess.Popen([sys.executable, "-c", code], cwd=ROOT)
    end = time.monotonic() + 120
    while time.monotonic() < end and (not path.exists() or path.read_text().count("\n") < 2):
        time.sleep(0.02)
    maker.send_signal(signal.SIGKILL)
    maker.wait()
    kept = path.read_text()
    assert 2 <= len(read_parts(tmp_path)) < 15
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)
    assert path.read_text().startswith(kept)
    done = [json.loads(line) for line in path.read_text().splitlines() if line.endswith("}")]
    assert len(done) == len({entry["cell"] for entry in done}) == 15


def test_the_spread_of_seeds_is_pooled() -> None:
    repeated = np.array([[10.0, 12.0, 14.0], [50.0, 50.0, 56.0]])
    seeds, low, high = spread_of_seeds(repeated)
    assert seeds**2 == pytest.approx((4 + 12) / 2)
    assert low < seeds < high
