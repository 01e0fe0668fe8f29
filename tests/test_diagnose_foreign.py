"""α histories that other tools left: how epochs are counted, masks, shares, containers, and what cannot be told."""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tables import check_each

from robustnas.__main__ import main
from robustnas.analysis import History
from robustnas.analysis.foreign import read_foreign
from robustnas.analysis.measures import measures
from robustnas.spaces import S1, S2, NASBench201, SearchSpace

Arrays = dict[str, np.ndarray]
Output = pytest.CaptureFixture[str]
EPOCHS = 5


def alphas_of(space: SearchSpace, epochs: int = EPOCHS) -> Arrays:
    rng = np.random.default_rng(1)
    return {kind: rng.normal(size=(epochs, *cell.shape)) for kind, cell in space.cells.items()}


ALPHAS = alphas_of(S2)
NORMAL, REDUCE = (torch.from_numpy(values) for values in ALPHAS.values())
CELL = alphas_of(NASBench201)


def long(path: Path, alphas: Arrays, first: int = 0, step: int = 1) -> Path:
    lines = ["epoch,kind,edge,operation,alpha"] + [
        f"{first + step * epoch},{kind},{edge.name},{name},{float(alphas[kind][epoch, row, column])!r}"
        for kind, cell in S2.cells.items()
        for epoch in range(len(alphas[kind]))
        for row, edge in enumerate(cell.edges)
        for column, name in enumerate(edge.operations)
    ]
    path.write_text("\n".join(lines), encoding="utf-8")
    return path


def same(history: History, alphas: Arrays, epochs: list[int]) -> None:
    assert history.epochs == epochs
    for place, epoch in enumerate(epochs):
        for kind, values in alphas.items():
            np.testing.assert_array_equal(history.alphas[epoch][kind], values[place])


def saved(path: Path, content: Any) -> Path:
    torch.save(content, path)
    return path


@pytest.mark.parametrize(
    ("first", "step", "words"),
    [
        (0, 1, "finished at epoch 4 of 5 (from 0)"),
        (1, 1, "finished at epoch 5 of 5 (from 1)"),
        (1, 3, "finished at epoch 13 of 13 (from 1)"),
        (5, 5, "finished at epoch 25 of 25 (from 1)"),
        (4, 5, "finished at epoch 24 of 25 (from 0)"),
        (10, 1, "finished at epoch 14 of 15 (from 0)"),
    ],
)
def test_epochs_are_counted_as_the_file_counts_them(
    first: int, step: int, words: str, tmp_path: Path, capsys: Output
) -> None:
    path = long(tmp_path / "a.csv", ALPHAS, first, step)
    assert main(["diagnose", str(path), "--space", "S2"]) in (0, 10, 15, 20)
    assert words in capsys.readouterr().out


def test_the_count_of_epochs_changes_no_verdict(tmp_path: Path) -> None:
    """Shares of the search that are over, which thresholds depend on, are the same."""
    zero, one = (read_foreign(long(tmp_path / f"{k}.csv", ALPHAS, k), "S2") for k in (0, 1))
    assert [zero.progress(at) for at in zero.epochs] == [one.progress(at) for at in one.epochs]
    assert [zero.until(2).progress(at) for at in (0, 2)] == [one.until(3).progress(at) for at in (1, 3)] == [0.2, 0.6]
    shifted = {name: {at - 1: value for at, value in values.items()} for name, values in measures(one).items()}
    assert shifted == measures(zero)


TORCH: dict[str, tuple[Any, bool]] = {  # what is saved, and whether it is a history of one epoch
    "dict": ({"normal": NORMAL, "reduce": REDUCE}, False),
    "dict of other names": ({"alphas_normal": NORMAL, "alphas_reduce": REDUCE}, False),
    "state dict": (OrderedDict({"module.alphas_normal": NORMAL, "module.alphas_reduce": REDUCE}), False),
    "dict of lists": ({"normal": list(NORMAL), "reduce": list(REDUCE)}, False),
    "list of kinds": ([NORMAL, REDUCE], False),
    "tuple of parameters": (tuple(torch.nn.Parameter(t) for t in (NORMAL, REDUCE)), False),
    "list of kinds of epochs": ([list(NORMAL), list(REDUCE)], False),
    "list of epochs": ([[n, r] for n, r in zip(NORMAL, REDUCE, strict=True)], False),
    "list of dicts": ([{"normal": n, "reduce": r} for n, r in zip(NORMAL, REDUCE, strict=True)], False),
    "dict of epochs": ({at: [n, r] for at, (n, r) in enumerate(zip(NORMAL, REDUCE, strict=True))}, False),
    "one tensor": (torch.stack([NORMAL, REDUCE], 1), False),
    "numbers in lists": ([NORMAL.tolist(), REDUCE.tolist()], False),
    "wrapped": ({"alphas": [NORMAL, REDUCE]}, False),
    "one epoch": ([NORMAL[0], REDUCE[0]], True),
    "one epoch by name": ({"alphas_normal": NORMAL[0], "alphas_reduce": REDUCE[0]}, True),
}


def test_every_container_of_tensors_gives_the_same(tmp_path_factory: pytest.TempPathFactory) -> None:
    def check(form: str) -> None:
        tmp_path = tmp_path_factory.mktemp("row")
        content, single = TORCH[form]
        history = read_foreign(saved(tmp_path / "a.pt", content), "S2")
        same(
            history,
            {kind: values[:1] for kind, values in ALPHAS.items()} if single else ALPHAS,
            list(range(1 if single else 5)),
        )

    check_each(TORCH, check)


def test_a_space_with_one_kind_of_cell_needs_no_name(tmp_path_factory: pytest.TempPathFactory) -> None:
    def check(form: str) -> None:
        tmp_path = tmp_path_factory.mktemp("row")
        tensor = torch.from_numpy(CELL["cell"])
        contents = {"tensor": tensor, "list": list(tensor), "dict": {"arch_parameters": tensor}, "by kind": [tensor]}
        content = contents[form]
        same(read_foreign(saved(tmp_path / "a.pth", content), "NASBench201"), CELL, list(range(EPOCHS)))

    check_each(["tensor", "list", "dict", "by kind"], check)


def test_arrays_without_names_are_in_the_order_of_the_kinds(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", *ALPHAS.values())
    same(read_foreign(tmp_path / "a.npz", "S2"), ALPHAS, list(range(EPOCHS)))


def test_what_is_left_out_and_assumed_is_said(tmp_path: Path, capsys: Output) -> None:
    path = saved(tmp_path / "a.pt", {"normal": NORMAL, "reduce": REDUCE, "optimizer": {"lr": 0.1}, "epoch": 3})
    main(["diagnose", str(path), "--space", "S2"])
    said = " ".join(capsys.readouterr().out.split())
    assert "read as 5 epochs of α, whose softmax gives the shares, counted from 0; left out optimizer, epoch" in said
    rows = long(tmp_path / "a.csv", ALPHAS).read_text(encoding="utf-8").splitlines()
    (tmp_path / "a.csv").write_text("\n".join(f"{row},{'lr' if not k else 0.1}" for k, row in enumerate(rows)), "utf-8")
    assert read_foreign(tmp_path / "a.csv", "S2").read_as.endswith("counted from 0; left out lr")


@pytest.mark.parametrize("ending", ["npz", "csv", "pt"])
def test_a_masked_operation_has_the_share_zero(ending: str, tmp_path: Path) -> None:
    masked = {kind: values.copy() for kind, values in ALPHAS.items()}
    masked["normal"][:, 3, 0] = -np.inf
    masked["reduce"][3:, 5, 1] = -np.inf
    path = tmp_path / f"a.{ending}"
    if ending == "npz":
        np.savez(path, **masked)
    elif ending == "csv":
        long(path, masked)
    else:
        saved(path, {kind: torch.from_numpy(values) for kind, values in masked.items()})
    history = read_foreign(path, "S2")
    shares = history.shares(4)
    assert (shares["normal"][3].tolist(), shares["reduce"][5].tolist()) == ([0.0, 1.0], [1.0, 0.0])
    found = measures(history)
    assert all(np.isfinite(list(values.values())).all() for values in found.values())
    assert history.final is not None
    for kind, row, kept in (("normal", 3, "sep_conv_3x3"), ("reduce", 5, "skip_connect")):
        edge = S2.cells[kind].edges[row]
        assert [c.operation for c in history.final.cells[kind] if c[:2] == (edge.source, edge.node)] == [kept]


@pytest.mark.parametrize(("digits", "words"), [(None, "rows sum to 1"), (2, "rows sum to about 1")])
def test_shares_are_told_from_alpha(digits: int | None, words: str, tmp_path: Path) -> None:
    shares = {kind: np.exp(v) / np.exp(v).sum(-1, keepdims=True) for kind, v in ALPHAS.items()}
    written = shares if digits is None else {kind: np.round(v * 0.995, digits) for kind, v in shares.items()}
    np.savez(tmp_path / "a.npz", **written)
    history = read_foreign(tmp_path / "a.npz", "S2")
    assert f"shares, since {words}, counted from 0" in history.read_as
    for epoch in history.epochs:
        for kind, found in history.shares(epoch).items():
            np.testing.assert_allclose(found.sum(axis=1), 1, atol=1e-6 if digits else 1e-3)
            np.testing.assert_allclose(found, shares[kind][epoch], atol=0.02)


def test_an_edge_with_fewer_candidates_is_read(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", **{kind: np.full((3, *cell.shape), 0.5) for kind, cell in S1.cells.items()})
    assert read_foreign(tmp_path / "a.npz", S1).epochs == [0, 1, 2]


def rows(path: Path, change: Callable[[list[str]], list[str]]) -> Path:
    header, *lines = long(path, ALPHAS).read_text(encoding="utf-8").splitlines()
    return written(path, "\n".join([header, *change(lines)]))


def written(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


class Foreign:
    """A class of another project, which a file names."""


BAD: dict[str, tuple[Callable[[Path], Path], str]] = {
    "epoch again": (
        lambda p: rows(p / "a.csv", lambda r: [*r, r[0]]),
        "each of them once, but got 0 after 4 in line 282",
    ),
    "epochs backwards": (
        lambda p: rows(p / "a.csv", lambda r: r[::-1]),
        "to ascend, each of them once, but got 3 after 4",
    ),
    "column again": (
        lambda p: written(p / "a.csv", "epoch,kind,edge,operation,alpha,alpha\n"),
        "to name each column once, but got 'alpha' twice",
    ),
    "decimal comma": (
        lambda p: rows(p / "a.csv", lambda r: [r[0].rpartition(",")[0] + ',"0,5"', *r[1:]]),
        "but got '0,5' (a decimal comma; write 0.5) in line 2",
    ),
    "epoch too long": (
        lambda p: rows(p / "a.csv", lambda r: ["9" * 5000 + r[0][1:]]),
        "`epoch` to be a whole number, but got '999",
    ),
    "edge too long": (
        lambda p: rows(p / "a.csv", lambda r: [r[0].replace("0-2", "9" * 5000)]),
        "an edge of the normal cell of S2, such as 0-2, but got '999",
    ),
    "all masked": (
        lambda p: saved(p / "a.pt", [torch.full_like(NORMAL, -torch.inf), REDUCE]),
        "or -inf where an operation is masked but not all are, but got [-inf, -inf] on normal edge 0-2 in epoch 0",
    ),
    "infinite": (lambda p: saved(p / "a.pt", [NORMAL, REDUCE / 0]), "to be finite, or -inf where"),
    "another space": (
        lambda p: saved(p / "a.pt", [NORMAL[..., :1], REDUCE]),
        "Expected α of the space S2 to be {'normal': (14, 2), 'reduce': (14, 2)} (kind: edges, operations), but got",
    ),
    "cannot be told": (
        lambda p: saved(p / "a.pt", [NORMAL[:2], REDUCE[:2]]),
        "but got 2 times 2 arrays, of which kinds and epochs cannot be told apart; name the kinds",
    ),
    "an epoch by two names": (
        lambda p: saved(p / "a.pt", {"epoch_7": [NORMAL[0], REDUCE[0]], 7: [NORMAL[1], REDUCE[1]]}),
        "but got epoch 7 twice, the second time as 7.",
    ),
    "an epoch in two forms": (
        lambda p: saved(p / "a.pt", {7: [NORMAL[0], REDUCE[0]], "epoch_7/normal": NORMAL[1]}),
        "but got epoch 7 twice, the second time as 'epoch_7/normal'.",
    ),
    "three arrays": (
        lambda p: saved(p / "a.pt", [NORMAL, REDUCE, REDUCE]),
        "but got a list of 3, the first of shape [5, 14, 2]",
    ),
    "other names": (
        lambda p: saved(p / "a.pt", {"weight": NORMAL}),
        "of normal and reduce as arrays [epochs, edges, ope",
    ),
    "both names": (
        lambda p: saved(p / "a.pt", {"normal": NORMAL, "alphas_normal": NORMAL}),
        "both 'normal' and 'alphas_n",
    ),
    "text": (lambda p: saved(p / "a.pt", "nothing"), "but got a str."),
    "code": (
        lambda p: saved(p / "a.pt", Foreign()),
        "test_diagnose_foreign.Foreign, which is not run.",
    ),
    "huge": (
        lambda p: saved(p / "a.pt", [NORMAL, torch.zeros(1).expand(10**9)]),
        "a tensor of the shape [1000000000] whose storage is smaller than that",
    ),
    "no file of PyTorch": (
        lambda p: rows(p / "a.pt", lambda r: r),
        "to hold tensors in dicts and lists, but reading it",
    ),
}


def test_what_cannot_be_read_is_one_sentence(tmp_path_factory: pytest.TempPathFactory, capsys: Output) -> None:
    def check(case: str) -> None:
        tmp_path = tmp_path_factory.mktemp("row")
        make, words = BAD[case]
        assert main(["diagnose", str(make(tmp_path)), "--space", "S2"]) == 1
        out, error = capsys.readouterr()
        assert out == ""
        assert re.fullmatch(r"robustnas: Expected [^\n]+\n", error), error
        assert words in error

    check_each(BAD, check)
