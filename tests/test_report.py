"""``robustnas report``: one file that needs nothing else, says all that a run holds, and lets no run bring markup."""

from __future__ import annotations

import base64
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
from pages import Page, page_of, write_run
from tables import check_each
from verdicts import genotype, skips

from robustnas.__main__ import main
from robustnas.reports import report
from robustnas.runs.record import Run, write_json, write_text
from robustnas.spaces import find_space

ROOT = Path(__file__).resolve().parents[1]
HOSTILE = '<script>alert("x")</script>\'"><img src=x onerror=alert(1)>&amp;'
SECTIONS = ["Summary", "Verdict", "Curves", "α over the epochs", "Genotypes", "Hessian spectrum over the epochs",
    "Discretisation gap", "Data", "Settings and environment", "Reproduce"]  # fmt: skip
Output = pytest.CaptureFixture[str]


def test_a_page_has_all_sections_of_a_run_and_its_numbers(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "mine")
    write_json(folder / "evaluation" / "test.json", {"parameters": 12345, "test/top1": 0.876, "test/loss": 0.5})
    page = page_of(folder)
    assert page.texts["h3"] == SECTIONS
    assert page.texts["h2"][0].startswith("mine ")
    summary = dict(zip(page.texts["dt"][:8], page.texts["dd"][:8], strict=True))
    assert (summary["variant"], summary["space"], summary["data"]) == ("DARTS", "DARTS", "Digits")
    assert summary["epochs"] == "5 of 6, finished"
    assert summary["time"] == "6.2 s"
    assert summary["top-1 accuracy of the supernet on validation"] == "43.8 %"
    assert summary["trained from scratch, test/top1"] == "87.6 %"
    assert summary["verdict"] == "healthy"
    for said in ("2.13.0", "f8ff" * 16, "647", "300 to 347", "0.03", str(skips(1)), f"robustnas evaluate {folder}"):
        assert said in page.all
    assert "validation from 2.5 in epoch 0 to 2 in epoch 4" in page.all
    assert "largest from 7.5 in epoch 0 to 11.5 in epoch 4" in page.all
    assert "custom/thing" in page.all


def test_the_page_says_what_the_verdict_says(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "bad", epochs=0)
    run = Run(folder)
    for epoch in range(6):
        run.write_genotype(genotype(*["skip_connect"] * (1 if epoch < 2 else 8)), epoch)
    run.write_genotype(genotype(*["skip_connect"] * 8))
    page = page_of(folder)
    assert "collapsed" in page.texts["strong"]
    evidence = page.texts["table"][0]
    assert "skip connections in the genotype8 of 8over 4" in evidence
    assert "arXiv:1909.09656" in evidence
    assert "since epoch 2" in page.all
    assert any("--model." in said for said in page.texts["li"])


def test_the_file_needs_nothing_else(tmp_path: Path) -> None:
    source = report([write_run(tmp_path / "mine")])
    page = Page(source)
    assert not re.search(r"https?:|//[a-z]|url\(|@import", source.partition("<body>")[2].replace('src="data:', ""))
    assert {"script", "link", "iframe", "object", "embed", "base", "form"} & {
        name for name, _ in page.elements
    } == set()
    for _, given in page.elements:
        assert not [name for name in given if name.startswith("on")]
        for name in ("src", "href", "xlink:href"):
            assert (given.get(name) or "#").startswith(("#", "data:image/svg+xml;base64,"))
    policy = [given["content"] for given in page.named("meta") if "http-equiv" in given]
    assert policy == ["default-src 'none'; style-src 'unsafe-inline'; img-src data:"]
    assert "@media print" in source
    assert "prefers-color-scheme: dark" in source
    assert "width=device-width" in source


def test_every_figure_has_words(tmp_path: Path) -> None:
    page = page_of(write_run(tmp_path / "mine"))
    assert len(page.named("img")) == 2
    for image in page.named("img"):
        assert "DARTS normal: 0-2" in (image["alt"] or "")
        drawing = base64.b64decode((image["src"] or "").partition(",")[2])
        assert ElementTree.fromstring(drawing).tag.endswith("svg")
    for svg in page.named("svg"):
        assert svg["role"] == "img"
        assert len(svg["aria-label"] or "") > 10
        assert re.fullmatch(r"0 0 [\d.]+ [\d.]+", svg["viewbox"] or "")


def test_the_same_runs_give_the_same_bytes(tmp_path: Path) -> None:
    folders = [write_run(tmp_path / "a"), write_run(tmp_path / "b", "NASBench201")]
    assert report(folders) == report(folders)
    given = [*map(str, folders)]
    code = f"from robustnas.reports import report; import sys; sys.stdout.buffer.write(report({given}).encode())"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, check=True)
    assert done.stdout.decode() == report(folders)


def test_nothing_in_a_run_becomes_markup(tmp_path: Path) -> None:
    named = "".join(letter for letter in HOSTILE if letter != "/")
    roles = {HOSTILE: {"size": HOSTILE, "sha256": HOSTILE, "class_counts": {HOSTILE: 3}}}
    module = {"class_path": f"x.{HOSTILE}", "init_args": {"space": "DARTS", HOSTILE: {"class_path": HOSTILE}}}
    described = {"source": HOSTILE, "classes": [HOSTILE, "b"], "roles": roles, "task": HOSTILE}
    environment = dict.fromkeys(("started", "platform", "precision", "memory_bytes"), HOSTILE)
    more = {
        "data": described,
        "module": module,
        "versions": {HOSTILE: HOSTILE},
        "command": [HOSTILE],
        "gpus": [HOSTILE],
    }
    git = {"robustnas": {"commit": HOSTILE, "dirty": HOSTILE}}
    folder = write_run(tmp_path / named, **more, **environment, git=git, cpu={"model": HOSTILE, "cores": HOSTILE})
    lines = (folder / "metrics.csv").read_text(encoding="utf-8").splitlines()
    quoted = f'"evil/{HOSTILE.replace(chr(34), chr(34) * 2)}"'
    write_text(folder / "metrics.csv", "".join(f"{line},{k if k else quoted}\n" for k, line in enumerate(lines)))
    write_text(folder / "config.yaml", f"a: {HOSTILE}\x00\x1b\n")
    write_json(folder / "evaluation" / "test.json", {f"test/{HOSTILE}": 1.0})
    page = page_of(folder, write_run(tmp_path / "b"))
    assert page.all.count(HOSTILE) > 15
    assert named in page.texts["h2"][1]
    assert {"script"} & {name for name, _ in page.elements} == set()
    assert not [given for _, given in page.elements if given.get("src") == "x" or "onerror" in given]
    assert "\x00" not in page.all


@pytest.mark.parametrize(
    ("space", "finished"), [("DARTS", False), ("S1", True), ("NASBench201", False), ("MobileSmall", True)]
)
def test_every_space_finished_or_running_without_diagnostics(tmp_path: Path, space: str, finished: bool) -> None:
    page = page_of(write_run(tmp_path / "mine", space, logged=False, finished=finished))
    assert page.texts["h3"] == SECTIONS
    assert ("still running or stopped" in page.all) is not finished
    assert "The curvature was not measured." in page.all
    assert "The discretisation gap was not measured." in page.all
    assert "Decision: entropy of α from" in page.all  # follows from α
    by_kind = "Normalised entropy of α, by kind of cell: normal from"
    assert (by_kind in page.all) is ("normal" in find_space(space).cells)
    frames = [svg for svg in page.named("svg") if "Largest:" in (svg["aria-label"] or "")]
    assert len(frames) == 5 * len(find_space(space).cells)


def test_a_run_may_lack_nearly_everything(tmp_path: Path) -> None:
    Run(tmp_path / "bare").write_genotype(skips(2), 0)
    page = page_of(tmp_path / "bare")
    for said in ("α was not recorded.", "The run has no manifest.", "does not say which data", "no config.yaml"):
        assert said in page.all


def test_a_manifest_of_another_form_is_no_error(tmp_path_factory: pytest.TempPathFactory) -> None:
    def check(value: Any) -> None:
        tmp_path = tmp_path_factory.mktemp("row")
        keys = ("data", "module", "versions", "git", "cpu", "gpus", "memory_bytes", "command", "epochs", "started")
        folder = write_run(tmp_path / "mine", "NASBench201", epochs=1, logged=False)
        Run(folder).write_manifest(dict.fromkeys(keys, value))
        page_of(folder)
        inner = {key: dict.fromkeys(("roles", "classes", "init_args", "class_path", "robustnas", "image_shape"), value)
            for key in keys if key != "epochs"}  # fmt: skip
        Run(folder).write_manifest(inner)
        page_of(folder)

    check_each([None, [], {}, "x", 5, True, [None], {"a": None}], check)


def test_several_runs_are_compared_first(tmp_path: Path) -> None:
    folders = [write_run(tmp_path / "x" / "run"), write_run(tmp_path / "y" / "run", "NASBench201", logged=False)]
    page = page_of(*folders)
    assert page.texts["h2"][0] == "Runs side by side"
    table = page.texts["tbody"][0]
    assert page.texts["th"][14:15] == ["x/run"]
    assert "NASBench201" in table
    assert "43.8 %" in table
    assert "11.5" in table
    assert [given["href"] for given in page.named("a")] == ["#run-1", "#run-2"]
    assert {given.get("id") for given in page.named("article")} == {"comparison", "run-1", "run-2"}
    both = next(svg["aria-label"] for svg in page.named("svg"))
    lines = "; ".join(f"{n}/run from 2.5 in epoch 0 to 2 in epoch 4" for n in "xy")
    assert both == f"Loss of the supernet on validation: {lines}"
    assert page.texts["h3"] == SECTIONS * 2


def test_the_true_accuracy_of_what_was_found_stands_beside_the_rest(tmp_path: Path) -> None:
    folders = [write_run(tmp_path / name) for name in ("a", "b")]
    write_json(folders[0] / "truth.json", {"accuracy": 86.81, "rank": 57, "of": 64, "best": 95.1})
    page = page_of(*folders)
    assert page.texts["th"][12:14] == ["truth", "rank"]
    assert "86.8 %57 of 64" in page.texts["tbody"][0]
    assert "true accuracy by the table86.8 %, rank 57 of 64" in page.all
    write_json(folders[0] / "truth.json", {"best": 95.1})  # as where the table does not know the result
    assert "truth" not in page_of(*folders).texts["th"]
    write_json(folders[0] / "truth.json", {"accuracy": "high"})
    with pytest.raises(ValueError, match=r"truth\.json to hold numbers for accuracy, rank, of, but got"):
        report(folders)


def test_of_many_runs_a_colour_is_a_variant(tmp_path: Path) -> None:
    folders = [write_run(tmp_path / f"r{k}", "NASBench201" if k == 8 else "DARTS", epochs=2) for k in range(9)]
    page = page_of(*folders)
    assert page.texts["ul"][0] == "DARTS, DARTSDARTS, NASBench201"
    lines = [given["class"] for given in page.named("path") if "line" in (given["class"] or "")][:9]
    assert lines == ["line c0"] * 8 + ["line c1"]


def test_the_command_writes_the_file_without_torch(tmp_path: Path, capsys: Output) -> None:
    folder, out = write_run(tmp_path / "mine"), tmp_path / "deep" / "r.html"
    assert main(["report", str(folder), "-o", str(out)]) == 0
    assert capsys.readouterr().out == f"{out}\n"
    assert out.read_text(encoding="utf-8") == report([folder])
    code = (
        "import sys; from robustnas.__main__ import main; "
        f"main(['report', {str(folder)!r}, '-o', {str(out)!r}]); "
        "assert not {'torch', 'pytorch_lightning', 'lightning_fabric'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, check=True)


def test_bad_runs_are_refused_in_a_sentence(tmp_path_factory: pytest.TempPathFactory, capsys: Output) -> None:
    rows = [
        (shutil.rmtree, "there is no folder"),
        (lambda run: [shutil.rmtree(run), write_text(run, "epoch,alpha\n")], "is a file; `robustnas diagnose FILE"),
        (lambda run: write_text(run / "metrics.csv", "epoch,a/b,a/b\n0,1,1\n"), "each column once, but got 'a/b'"),
        (lambda run: [shutil.rmtree(run / "alpha"), shutil.rmtree(run / "genotypes"), (run / "genotype.json").unlink()],
            "has not finished an epoch"),
        (lambda run: write_text(run / "manifest.json", '{"schema": 1, '), "manifest.json` to be JSON"),
        (lambda run: write_text(run / "genotype.json", "{}"), "genotype"),
        (lambda run: (run / "alpha" / "epoch_0001.npz").write_bytes(b"PK\x03\x04"), "epoch_0001.npz` to hold arrays"),
        (lambda run: Run(run).write_alpha(1, {"normal": np.zeros((3, 2))}), "in epoch 1"),
        (lambda run: write_text(run / "metrics.csv", "epoch,val/loss\n0,1\n1\n"), "metrics.csv"),
        (lambda run: write_text(run / "metrics.csv", "epoch,seconds,val/loss\n0,soon,1\n"), "seconds"),
        (lambda run: write_text(run / "evaluation" / "test.json", "[1]"), "test.json"),
        (lambda run: write_text(run / "evaluation" / "test.json", "{"), "test.json"),
    ]  # fmt: skip

    def check(row: tuple[Any, str]) -> None:
        spoil, said = row
        tmp_path = tmp_path_factory.mktemp("row")
        good, bad = write_run(tmp_path / "good"), write_run(tmp_path / "bad")
        spoil(bad)
        out = tmp_path / "r.html"
        assert main(["report", str(good), str(bad), "-o", str(out)]) == 1
        error = capsys.readouterr().err
        assert error.startswith("robustnas: Expected ")
        assert said in error
        assert error.count("\n") == 1
        assert not out.exists()

    check_each(rows, check)


def test_only_html_is_written(tmp_path_factory: pytest.TempPathFactory, capsys: Output) -> None:
    def check(out: str) -> None:
        tmp_path = tmp_path_factory.mktemp("row")
        (tmp_path / "folder.html").mkdir()
        assert main(["report", str(write_run(tmp_path / "mine")), "-o", str(tmp_path / out)]) == 1
        assert "Expected --out to be a file ending in .html" in capsys.readouterr().err

    check_each(["r.pdf", "folder.html", "r"], check)


def test_a_wrong_command_line_is_named(capsys: Output) -> None:
    assert main(["report"]) == 2
    assert capsys.readouterr().err == "robustnas: Expected `RUN` to be given, but got none.\n"
    with pytest.raises(ValueError, match="Expected `folders` to name at least one run"):
        report([])


def test_json_of_the_manifest_is_there_whole(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "mine")
    page = page_of(folder)
    held = next(said for said in page.texts["pre"] if said.startswith("{"))
    assert json.loads(held) == Run(folder).manifest
