"""Records are whole or absent, come back as they were, and say what is wrong with them."""

from __future__ import annotations

import io
import json
import os
import pickle
import re
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from robustnas.runs.record import Run, environment, read_json, write_bytes, write_json, write_text
from robustnas.spaces import DARTS, Genotype, NASBench201

ROOT = Path(__file__).resolve().parents[1]
TEXT = "|skip_connect~0|+|none~0|nor_conv_3x3~1|+|avg_pool_3x3~0|none~1|nor_conv_1x1~2|"
CELL = Genotype.from_nasbench201(TEXT)
OTHER = Genotype.from_nasbench201(TEXT.replace("skip_connect", "none"))


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return Run(tmp_path / "runs" / "one")


def message(path: Path, words: str) -> str:
    return rf"Expected `?{re.escape(str(path))}`? to.*but got .*{words}"


class TestWriting:
    def test_makes_folders_and_leaves_one_file(self, tmp_path: Path) -> None:
        path = tmp_path / "a" / "b" / "c.txt"
        write_text(path, "α\r\nβ\n")
        assert path.read_bytes() == "α\r\nβ\n".encode()
        write_bytes(path, b"\x00\xff")
        assert path.read_bytes() == b"\x00\xff"
        assert os.listdir(path.parent) == ["c.txt"]

    def test_a_failure_before_the_replacement_keeps_the_old_file(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        path = tmp_path / "a.txt"
        write_text(path, "old")

        def fail(source: Path, target: Path) -> None:
            assert Path(source).read_text() == "new", "the new content was not whole before the replacement"
            raise OSError("disk gone")

        monkeypatch.setattr(os, "replace", fail)
        with pytest.raises(OSError, match="disk gone"):
            write_text(path, "new")
        assert path.read_text() == "old"
        assert os.listdir(tmp_path) == ["a.txt"]

    def test_a_killed_process_keeps_the_old_file_and_the_run_stays_readable(self, run: Run) -> None:
        run.write_genotype(CELL, 3)
        code = (
            "import os; from robustnas.runs import record; from robustnas.spaces import Genotype\n"
            "os.replace = lambda *names: os._exit(9)\n"
            f"record.Run({str(run.path)!r}).write_genotype(Genotype.from_nasbench201({OTHER.to_nasbench201()!r}), 3)"
        )
        assert subprocess.run([sys.executable, "-c", code], cwd=ROOT).returncode == 9
        assert len(os.listdir(run.path / "genotypes")) == 2, "the half-written file should lie beside the whole one"
        assert run.genotypes() == {3: CELL}

    def test_the_content_is_on_disk_before_the_replacement(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        calls: list[str] = []
        sync, replace = os.fsync, os.replace
        monkeypatch.setattr(os, "fsync", lambda number: (calls.append("fsync"), sync(number)))
        monkeypatch.setattr(os, "replace", lambda *names: (calls.append("replace"), replace(*names)))
        write_text(tmp_path / "a.txt", "new")
        assert calls[:2] == ["fsync", "replace"]

    def test_the_file_has_the_usual_permissions(self, tmp_path: Path) -> None:
        write_text(tmp_path / "ours", "")
        (tmp_path / "usual").write_text("")
        assert (tmp_path / "ours").stat().st_mode == (tmp_path / "usual").stat().st_mode


class TestJSON:
    def test_round_trip(self, tmp_path: Path) -> None:
        data = {"β": [1, 2.5, 1e-300, None, True], "names": {"a": "α\n", "b": []}, "argument": "\udcff"}
        write_json(tmp_path / "a.json", data)
        assert read_json(tmp_path / "a.json") == data
        assert list(read_json(tmp_path / "a.json")) == list(data)

    @pytest.mark.parametrize("value", [float("nan"), float("inf"), np.float32(1), {1, 2}, Path("x"), CELL])
    def test_what_json_cannot_hold_is_refused_and_changes_nothing(self, tmp_path: Path, value: object) -> None:
        path = tmp_path / "a.json"
        write_json(path, 1)
        with pytest.raises(ValueError, match=rf"Expected `data` for {re.escape(str(path))} to be .*, but got a value"):
            write_json(path, {"value": value})
        assert read_json(path) == 1

    @pytest.mark.parametrize(
        ("content", "words"),
        [
            (b"", "an empty file"),
            (b'{"a": [1, 2', "a truncated file: .*line 1 column 12"),
            (b'{"a": "b', "a truncated file: Unterminated string"),
            (b"accuracy 0.9", "text that is not JSON: Expecting value"),
            (b'{"a": 1} trailing', "text that is not JSON: Extra data"),
            (b'"\xff"', "the byte 0xff in line 1"),
            (b"[" * 200_000, "nests too deeply"),
        ],
    )
    def test_a_damaged_file_is_named(self, tmp_path: Path, content: bytes, words: str) -> None:
        path = tmp_path / "a.json"
        path.write_bytes(content)
        with pytest.raises(ValueError, match=message(path, words)):
            read_json(path)

    def test_a_missing_file_and_a_folder_are_named(self, tmp_path: Path) -> None:
        with pytest.raises(ValueError, match=message(tmp_path / "a.json", "no such file")):
            read_json(tmp_path / "a.json")
        with pytest.raises(ValueError, match=message(tmp_path, "Is a directory|Permission denied")):
            read_json(tmp_path)

    def test_every_prefix_of_a_document_is_refused(self, run: Run) -> None:
        run.write_manifest({"seeds": [1, 2], "nested": {"a": "b"}})
        path = run.path / "manifest.json"
        whole = path.read_bytes().rstrip()
        for length in range(len(whole)):
            path.write_bytes(whole[:length])
            with pytest.raises(ValueError, match=re.escape(f"`{path}`")):
                _ = run.manifest


class TestManifest:
    def test_round_trip_and_schema(self, run: Run) -> None:
        manifest = {"variant": "darts", "seed": 3, "environment": environment()}
        run.write_manifest(manifest)
        assert run.manifest == manifest
        assert json.loads((run.path / "manifest.json").read_text())["schema"] == 1

    def test_its_own_schema_is_refused(self, run: Run) -> None:
        with pytest.raises(ValueError, match="Expected `manifest` to leave out 'schema', but got 7"):
            run.write_manifest({"schema": 7})

    @pytest.mark.parametrize(("content", "words"), [('{"schema": 2}', "2"), ("{}", "None"), ("[1]", "a list")])
    def test_another_schema_is_named(self, run: Run, content: str, words: str) -> None:
        write_text(run.path / "manifest.json", content)
        with pytest.raises(ValueError, match=message(run.path / "manifest.json", words)):
            _ = run.manifest

    def test_a_missing_one_is_named(self, run: Run) -> None:
        with pytest.raises(ValueError, match=message(run.path, "no such folder")):
            _ = run.manifest
        run.write_genotype(CELL)
        with pytest.raises(ValueError, match=message(run.path, r"a folder with \['genotype.json'\]")):
            _ = run.manifest


class TestGenotypes:
    def test_round_trip(self, run: Run) -> None:
        for epoch in (10, 2, 12345):
            run.write_genotype(OTHER, epoch)
        run.write_genotype(CELL)
        assert run.genotype() == CELL
        assert run.genotype(2) == OTHER
        assert list(run.genotypes().items()) == [(2, OTHER), (10, OTHER), (12345, OTHER)]
        assert (run.path / "genotypes" / "epoch_0002.json").read_text() == OTHER.to_json()
        assert (run.path / "genotype.json").read_text() == CELL.to_json()

    def test_a_run_without_one_is_named(self, run: Run) -> None:
        run.write_manifest({})
        run.write_alpha(0, {"cell": np.zeros(NASBench201.cells["cell"].shape)})
        expected = (
            f"Expected `{run.path}` to hold genotype.json, which a finished search writes, "
            "but got a folder with ['alpha', 'manifest.json']."
        )
        with pytest.raises(ValueError, match=f"^{re.escape(expected)}$"):
            run.genotype()
        with pytest.raises(ValueError, match=message(run.path, "a folder with")):
            run.genotype(0)
        assert run.genotypes() == {}

    @pytest.mark.parametrize(
        ("content", "words"),
        [
            (CELL.to_json()[:40], "a truncated file"),
            ('{"schema": 9}', "schema version 1, but got 9"),
            ('{"schema": 1, "space": "NASBench201"}', "`space` and `cells`"),
            ("[]", "list"),
        ],
    )
    def test_a_damaged_one_is_named(self, run: Run, content: str, words: str) -> None:
        write_text(run.path / "genotype.json", content)
        with pytest.raises(ValueError, match=message(run.path / "genotype.json", words)):
            run.genotype()

    def test_an_epoch_below_zero_is_refused(self, run: Run) -> None:
        with pytest.raises(ValueError, match="Expected `epoch` to be 0 or larger, but got -1"):
            run.write_genotype(CELL, -1)
        with pytest.raises(ValueError, match="Expected `epoch` to be 0 or larger, but got -2"):
            run.write_alpha(-2, {"cell": np.zeros((6, 5))})


class TestAlpha:
    def test_round_trip(self, run: Run) -> None:
        random = np.random.default_rng(0)
        written: dict[int, dict[str, Any]] = {}
        for epoch, dtype in ((11, np.float64), (0, np.float32)):
            written[epoch] = {k: random.normal(size=c.shape).astype(dtype) for k, c in DARTS.cells.items()}
            run.write_alpha(epoch, written[epoch])
        read = run.alphas()
        assert list(read) == [0, 11]
        for epoch, alpha in written.items():
            assert list(read[epoch]) == ["normal", "reduce"]
            for kind, array in alpha.items():
                assert read[epoch][kind].dtype == array.dtype
                np.testing.assert_array_equal(read[epoch][kind], array)

    def test_numpy_reads_the_file_and_its_bytes_repeat(self, run: Run) -> None:
        alpha = {"cell": np.full((6, 5), np.nan), "file": np.arange(6.0)}
        run.write_alpha(1, alpha)
        path = run.path / "alpha" / "epoch_0001.npz"
        with np.load(path, allow_pickle=False) as archive:
            assert archive.files == ["cell", "file"]
            np.testing.assert_array_equal(archive["cell"], alpha["cell"])
        before = path.read_bytes()
        run.write_alpha(1, alpha)
        assert path.read_bytes() == before

    def test_what_numpy_saves_is_read(self, run: Run) -> None:
        (run.path / "alpha").mkdir(parents=True)
        np.savez_compressed(run.path / "alpha" / "epoch_0005.npz", cell=np.eye(3))
        np.testing.assert_array_equal(run.alphas()[5]["cell"], np.eye(3))

    @pytest.mark.parametrize("alpha", [{}, {"cell": [["a"]]}, {"cell": [object()]}, {"cell": [1j]}])
    def test_other_than_real_numbers_is_refused(self, run: Run, alpha: dict[str, Any]) -> None:
        with pytest.raises(
            ValueError, match=r"Expected `alpha` to hold real numbers for each kind of cell, but got \{"
        ):
            run.write_alpha(0, alpha)
        assert not run.path.exists()

    def test_damage_is_named(self, run: Run) -> None:
        run.write_alpha(0, {"cell": np.ones((6, 5))})
        path = run.path / "alpha" / "epoch_0000.npz"
        whole = path.read_bytes()
        flipped = bytearray(whole)
        flipped[200] ^= 1  # inside the numbers, which start after the headers
        plain = io.BytesIO()
        np.save(plain, np.ones(3))
        for content in (b"", whole[:100], whole[:-1], bytes(flipped), b"text", plain.getvalue()):
            path.write_bytes(content)
            with pytest.raises(ValueError, match=message(path, "a file that fails")):
                run.alphas()

    def test_a_pickle_is_never_run(self, run: Run, tmp_path: Path) -> None:
        class Attack:
            def __reduce__(self) -> tuple[Any, ...]:
                return os.mkdir, (str(tmp_path / "harm"),)

        path = run.path / "alpha" / "epoch_0000.npz"
        path.parent.mkdir(parents=True)
        np.savez(path, cell=np.array([Attack()], dtype=object))
        with pytest.raises(ValueError, match=message(path, "a file that fails")):
            run.alphas()
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("cell.npy", pickle.dumps(Attack()))
        with pytest.raises(ValueError, match=message(path, "a file that fails")):
            run.alphas()
        assert not (tmp_path / "harm").exists()


def test_a_run_takes_text_and_reading_makes_nothing(tmp_path: Path) -> None:
    run = Run(str(tmp_path / "x"))  # type: ignore[arg-type]
    assert run == Run(tmp_path / "x")
    assert run.checkpoint == tmp_path / "x" / "last.ckpt"
    assert run.alphas() == {}
    assert run.genotypes() == {}
    assert os.listdir(tmp_path) == []


def test_the_import_is_light() -> None:
    heavy = "{'torch', 'pytorch_lightning', 'scipy', 'matplotlib'}"
    code = f"import sys, robustnas.runs.record; print(sorted({heavy} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.stdout.strip() == "[]", done.stderr
