"""``robustnas diagnose`` on runs, finished and running, on histories of other tools, and on what is neither."""

from __future__ import annotations

import csv
import io
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from tables import check_each
from verdicts import genotype, skips

from robustnas.__main__ import main
from robustnas.analysis import judge_run
from robustnas.analysis.foreign import read_foreign
from robustnas.runs.record import Run, write_text
from robustnas.spaces import S2, Genotype

ROOT = Path(__file__).resolve().parents[1]
Output = pytest.CaptureFixture[str]


def write_run(folder: Path, last: Genotype, epochs: int = 12, finished: bool = True) -> Path:
    """The folder of a search that had one skip connection for two epochs and then another genotype."""
    run = Run(folder)
    run.write_manifest({"epochs": 12, "data": {"classes": ["a", "b"]}, "module": {"init_args": {"space": last.space}}})
    base = np.random.default_rng(0).normal(size=(2, 14, 2))
    for epoch in range(epochs):
        run.write_genotype(skips(1, last.space) if epoch < 2 else last, epoch)
        run.write_alpha(epoch, dict(zip(("normal", "reduce"), base * (1 + epoch / 10), strict=True)))
    rows = "".join(f"{epoch},{10 * epoch},0.5,\n" for epoch in range(epochs))
    write_text(folder / "metrics.csv", "epoch,step,val/loss,curvature/max\n" + rows)
    if finished:
        run.write_genotype(last)
    return folder


def collapse(epochs: int = 12) -> dict[str, np.ndarray]:
    """α of S2 in which skip connections take over from the middle on."""
    noise = np.random.default_rng(0).normal(scale=0.05, size=(2, epochs, 14, 2))
    noise[0, :, :, 0] += np.linspace(-1, 1, epochs)[:, None]
    noise[1, :, :, 1] += 1
    return {"normal": noise[0], "reduce": noise[1]}


def write_wide(path: Path, alphas: dict[str, np.ndarray]) -> Path:
    names = [(kind, k, e.name, n, c) for kind, cell in S2.cells.items() for k, e in enumerate(cell.edges)
             for c, n in enumerate(e.operations)]  # fmt: skip
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["epoch", *(f"{kind}/{edge}/{name}" for kind, _, edge, name, _ in names), "curvature/max"])
        for epoch in range(len(alphas["normal"])):
            writer.writerow([epoch, *(alphas[kind][epoch, k, c] for kind, k, _, _, c in names), ""])
    return path


def write_long(path: Path, alphas: dict[str, np.ndarray], numbered: bool = False) -> Path:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["epoch", "kind", "edge", "operation", "alpha"])
        for kind, cell in S2.cells.items():
            for epoch, values in enumerate(alphas[kind]):
                for k, edge in enumerate(cell.edges):
                    for name, value in zip(edge.operations, values[k], strict=True):
                        writer.writerow([epoch, kind, k if numbered else edge.name, name, value])
    return path


@pytest.mark.parametrize(("count", "status", "word"), [(0, 0, "healthy"), (7, 20, "collapsed since epoch 2")])
def test_the_status_tells_the_verdict(count: int, status: int, word: str, tmp_path: Path, capsys: Output) -> None:
    assert main(["diagnose", str(write_run(tmp_path / "run", skips(count, "S2")))]) == status
    assert capsys.readouterr().out.startswith(f"{word}\n")


def test_a_search_at_risk_has_its_own_status(tmp_path: Path, capsys: Output) -> None:
    folder = write_run(tmp_path / "run", genotype(space="S2"))
    rows = "".join(f"{epoch},-0.5,-0.5\n" for epoch in range(12))
    write_text(folder / "metrics.csv", "epoch,gradient/match,gradient/alignment_normal\n" + rows)
    assert main(["diagnose", str(folder)]) == 10
    assert capsys.readouterr().out.startswith("at risk since epoch 0\n")


def test_a_running_search_is_judged_as_far_as_it_is(tmp_path: Path, capsys: Output) -> None:
    folder = write_run(tmp_path / "run", skips(7, "S2"), epochs=4, finished=False)
    assert main(["diagnose", str(folder)]) == 0
    assert "running at epoch 3 of 12" in capsys.readouterr().out
    write_run(folder, skips(7, "S2"), epochs=5, finished=False)
    assert main(["diagnose", str(folder)]) == 20


def test_json_is_printed_and_nothing_is_written(tmp_path: Path, capsys: Output) -> None:
    folder = write_run(tmp_path / "run", skips(7, "S2"))
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    assert main(["diagnose", str(folder), "--json"]) == 20
    data = json.loads(capsys.readouterr().out)
    assert (data["state"], data["since"], data["planned"], data["finished"]) == ("collapsed", 2, 12, True)
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*")} == before


def test_byte_order_marks_and_line_ends_in_a_run_are_harmless(tmp_path: Path, capsys: Output) -> None:
    folder = write_run(tmp_path / "run", skips(7, "S2"))
    main(["diagnose", str(folder), "--json"])
    before = capsys.readouterr().out
    texts = [path for path in folder.rglob("*") if path.suffix in (".json", ".csv")]
    assert {path.name for path in texts} >= {"manifest.json", "metrics.csv", "genotype.json", "epoch_0003.json"}
    for path in texts:
        path.write_bytes(path.read_text(encoding="utf-8").replace("\n", "\r\n").encode("utf-8-sig"))
    assert main(["diagnose", str(folder), "--json"]) == 20
    assert capsys.readouterr().out == before
    assert main(["report", str(folder), "-o", str(tmp_path / "r.html")]) == 0


def test_judge_run_leaves_the_verdict(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "run", skips(7, "S2"))
    verdict = judge_run(folder)
    assert (folder / "verdict.json").read_text(encoding="utf-8") == verdict.to_json()
    assert judge_run(folder) == verdict


@pytest.mark.parametrize("left", ["manifest.json", "metrics.csv", "alpha", "genotypes", "genotype.json"])
def test_a_run_with_a_part_missing_is_judged_by_the_rest(left: str, tmp_path: Path, capsys: Output) -> None:
    folder = write_run(tmp_path / "run", skips(7, "S2"))
    path = folder / left
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    assert main(["diagnose", str(folder)]) == 20
    assert "missing " in capsys.readouterr().out


def test_torch_is_not_loaded(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "run", skips(7, "S2"))
    code = (
        "import sys; from robustnas.__main__ import main; status = main(sys.argv[1:]);"
        "heavy = {'torch', 'pytorch_lightning'} & set(sys.modules);"
        "print(sorted(heavy), file=sys.stderr); sys.exit(status)"
    )
    words = [sys.executable, "-c", code, "diagnose", str(folder)]
    done = subprocess.run(words, capture_output=True, text=True, cwd=ROOT, check=False)
    assert (done.returncode, done.stderr) == (20, "[]\n")


def test_every_form_of_a_foreign_history_gives_the_same(tmp_path: Path, capsys: Output) -> None:
    alphas = collapse()
    np.savez(tmp_path / "whole.npz", **{f"alphas_{kind}": values for kind, values in alphas.items()})
    each = {f"epoch_{e:04d}/{kind}": values[e] for kind, values in alphas.items() for e in range(len(values))}
    np.savez(tmp_path / "each.npz", **each)
    files = [tmp_path / "whole.npz", tmp_path / "each.npz", write_wide(tmp_path / "wide.csv", alphas)]
    files += [write_long(tmp_path / f"long{n}.csv", alphas, numbered=bool(n)) for n in (0, 1)]
    answers = []
    for file in files:
        assert main(["diagnose", str(file), "--space", "S2", "--json"]) == 20
        answers.append(json.loads(capsys.readouterr().out))
    assert all(answer == answers[0] for answer in answers)
    assert (answers[0]["since"], answers[0]["epoch"]) == (6, 11)


def test_measures_in_a_foreign_table_are_used(tmp_path: Path) -> None:
    path = write_wide(tmp_path / "wide.csv", collapse())
    text = path.read_text(encoding="utf-8").replace(",\n", ",1.5\n").replace(",\r\n", ",1.5\r\n")
    path.write_text(text, encoding="utf-8", newline="")
    assert read_foreign(path, "S2").series == {"curvature/max": dict.fromkeys(range(12), 1.5)}


def save(path: Path, **arrays: np.ndarray) -> Path:
    np.savez(path, **arrays)
    return path


def damaged(path: Path, alphas: dict[str, np.ndarray]) -> Path:
    path.write_bytes(save(path, **alphas).read_bytes()[:-200])
    return path


def text(path: Path, content: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content, encoding="utf-8")
    return path


def spoilt(folder: Path, name: str, content: bytes) -> Path:
    (write_run(folder, skips(7, "S2")) / name).write_bytes(content)
    return folder


ALPHAS = collapse()
OTHER = {**ALPHAS, "normal": ALPHAS["normal"][:, :, :1]}
SHORT = {**ALPHAS, "reduce": ALPHAS["reduce"][:5]}
LONG = "epoch,kind,edge,operation,alpha\n"
S2_SPACE = ["--space", "S2"]

# What is given, with its options, and the sentence that follows.
BAD: dict[str, tuple[Callable[[Path], Path], list[str], str]] = {
    "nothing": (lambda p: p / "none", [], "Expected RUN to be the folder of a search, but there is no folder"),
    "empty folder": (lambda p: p, [], "one with nothing"),
    "events alone": (
        lambda p: text(p / "logs/events.out.tfevents.1.host", "x").parent,
        [],
        "TensorBoard events alone, as other tools write",
    ),
    "events file": (lambda p: text(p / "events.out.tfevents.1.host", "x"), [], "a TensorBoard events file"),
    "no epoch yet": (lambda p: text(p / "run/manifest.json", "{}").parent, [], "a run that has not finished an epoch"),
    "other file": (lambda p: text(p / "model.bin", "x"), [], "but got model.bin"),
    "manifest": (lambda p: spoilt(p / "run", "manifest.json", b'{"schema": 1, '), [], "a truncated file"),
    "genotype": (lambda p: spoilt(p / "run", "genotypes/epoch_0003.json", b"{}"), [], "schema version 1"),
    "alpha": (lambda p: spoilt(p / "run", "alpha/epoch_0003.npz", b"PK\x03\x04"), [], "a file that fails"),
    "metrics": (lambda p: spoilt(p / "run", "metrics.csv", b"epoch,val/loss\n0,abc\n"), [], "one row of numbers"),
    "metrics cut": (lambda p: spoilt(p / "run", "metrics.csv", b"epoch,val/loss\n0\n"), [], "2 fields in line 2"),
    "metrics of another tool": (
        lambda p: spoilt(p / "run", "metrics.csv", b"step,val/loss\n0,1\n"),
        [],
        "to have a column `epoch`, but it has none",
    ),
    "bytes": (lambda p: spoilt(p / "run", "metrics.csv", b"epoch,a/b\n\xff,\xfe\n"), [], "text in UTF-8, but"),
    "another space": (lambda p: write_run(p / "run", skips(7, "S2")), ["--space", "S1"], "from the space S1"),
    "unknown space": (lambda p: save(p / "a.npz", **ALPHAS), ["--space", "S9"], "Expected `space` to be one of"),
    "no space": (lambda p: save(p / "a.npz", **ALPHAS), [], "Expected `--space` to be given with the α history"),
    "shape": (
        lambda p: save(p / "a.npz", **OTHER),
        S2_SPACE,
        "but got {'normal': (14, 1), 'reduce': (14, 2)} in epoch 0",
    ),
    "lengths": (lambda p: save(p / "a.npz", **SHORT), S2_SPACE, "but got {'normal': (14, 2)} in epoch 5"),
    "dimensions": (
        lambda p: save(p / "a.npz", normal=np.zeros((14, 2))),
        S2_SPACE,
        "got {'normal': (14, 2)} in epoch 0",
    ),
    "words": (lambda p: save(p / "a.npz", normal=np.full((3, 14, 2), "x")), S2_SPACE, "in epoch 0"),
    "objects": (lambda p: save(p / "a.npz", normal=np.array([{}])), S2_SPACE, "to hold arrays, but reading it fails"),
    "nan": (lambda p: save(p / "a.npz", **{k: v * np.nan for k, v in ALPHAS.items()}), S2_SPACE, "α to be finite"),
    "no array": (lambda p: save(p / "a.npz"), S2_SPACE, "at least one finished epoch"),
    "truncated": (lambda p: damaged(p / "a.npz", ALPHAS), S2_SPACE, "to hold arrays, but reading it fails"),
    "columns": (lambda p: text(p / "a.csv", "step,loss\n1,2\n"), S2_SPACE, "but got step, loss"),
    "empty table": (lambda p: text(p / "a.csv", ""), S2_SPACE, "but got none"),
    "no rows": (lambda p: text(p / "a.csv", LONG), S2_SPACE, "at least one finished epoch"),
    "kind": (lambda p: text(p / "a.csv", LONG + "0,cell,0-2,skip_connect,1\n"), S2_SPACE, "but got 'cell' in line 2"),
    "edge": (lambda p: text(p / "a.csv", LONG + "0,normal,2-1,skip_connect,1\n"), S2_SPACE, "but got '2-1' in line 2"),
    "operation": (lambda p: text(p / "a.csv", LONG + "0,normal,0-2,none,1\n"), S2_SPACE, "but got 'none' in line 2"),
    "number": (lambda p: text(p / "a.csv", LONG + "0,normal,0-2,skip_connect,x\n"), S2_SPACE, "a number, but got 'x'"),
    "epoch": (
        lambda p: text(p / "a.csv", LONG + "a,normal,0-2,skip_connect,1\n"),
        S2_SPACE,
        "whole number, but got 'a'",
    ),
    "short row": (lambda p: text(p / "a.csv", LONG + "0,normal\n"), S2_SPACE, "5 fields in line 2"),
    "a number missing": (
        lambda p: text(p / "a.csv", LONG + "0,normal,0-2,skip_connect,1\n"),
        S2_SPACE,
        "α to be finite",
    ),
}


def test_bad_input_gets_one_sentence(tmp_path_factory: pytest.TempPathFactory, capsys: Output) -> None:
    def check(case: str) -> None:
        tmp_path = tmp_path_factory.mktemp("row")
        make, options, words = BAD[case]
        assert main(["diagnose", str(make(tmp_path)), *options]) == 1
        out, error = capsys.readouterr()
        assert out == ""
        assert re.fullmatch(r"robustnas: Expected [^\n]+\n", error), error
        assert words in error

    check_each(BAD, check)


def test_a_wrong_command_line_is_no_verdict(capsys: Output) -> None:
    rows = [["diagnose"], ["diagnose", "run", "--spac", "S1"], ["diagnose", "a", "b"]]

    def check(words: list[str]) -> None:
        assert main(words) == 2
        assert re.fullmatch(r"robustnas: Expected [^\n]+\n", capsys.readouterr().err)

    check_each(rows, check)


def test_help_documents_the_statuses(capsys: Output) -> None:
    with pytest.raises(SystemExit) as stop:
        main(["diagnose", "--help"])
    assert stop.value.code == 0
    text = capsys.readouterr().out
    assert "0 healthy, 10 at risk, 15 undecided, 20 collapsed, 30 did not learn" in text
    assert max(map(len, text.splitlines())) <= 80


def test_any_cut_of_a_history_gets_a_sentence(tmp_path: Path, capsys: Output) -> None:
    data = io.BytesIO()
    np.savez_compressed(data, **{kind: values[:2] for kind, values in ALPHAS.items()})
    whole, path = data.getvalue(), tmp_path / "a.npz"
    for length in range(0, len(whole), 37):
        path.write_bytes(whole[:length])
        assert main(["diagnose", str(path), *S2_SPACE]) == 1
        assert capsys.readouterr().err.startswith("robustnas: Expected ")
