"""What is exported computes the same for batches of any size, or is not kept; the folder needs torch alone."""

from __future__ import annotations

import contextlib
import io
import json
import os
import runpy
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from random import Random

import pytest
import torch
from refusals import refused, said
from tables import check_each, with_slow
from torch import Tensor

import robustnas
from robustnas.__main__ import main
from robustnas.cost import multiply_adds
from robustnas.data import InputSpec
from robustnas.inference import TrainedNetwork, formats
from robustnas.inference.export import BATCHES, TOLERANCE, export_network
from robustnas.inference.formats import FORMATS, Deployed
from robustnas.inference.safetensors_files import read_safetensors, write_safetensors
from robustnas.networks import DiscreteNetwork, ResNet
from robustnas.spaces import find_space, random_genotype

SIZES = {
    "DARTS": {"layers": 3, "auxiliary": True},
    "S1": {"layers": 3},
    "DARTSSingleCell": {},
    "NASBench201": {"cells": 1},
    "MobileSmall": {},
    "ResNet": {},
}
SPEC = InputSpec((3, 16, 16), (0.4, 0.5, 0.6), (0.2, 0.3, 0.2), ("a", "b", "c"), "classification")


def tiny(space: str) -> TrainedNetwork:
    """A network of a space whose statistics have moved from where they start."""
    torch.manual_seed(0)
    network: DiscreteNetwork | ResNet
    if space == "ResNet":
        network = ResNet(4, 1, 3)
    else:
        genotype = random_genotype(find_space(space), Random(0))
        network = DiscreteNetwork.from_genotype(genotype, channels=4, num_classes=3, **SIZES[space])
    with torch.no_grad():
        network(2 * torch.randn(8, 3, 16, 16))
        network.get_classifier().weight.mul_(20)  # logits of the size of trained ones
    return TrainedNetwork(network, SPEC)


def samples() -> Tensor:
    return torch.randint(256, (5, 3, 16, 16), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))


PAIRS = [(space, name) for space in SIZES for name in FORMATS]
FAST = [("NASBench201", "onnx"), ("NASBench201", "torchscript"), ("DARTS", "state_dict")]  # a folder is one more


@pytest.mark.parametrize("pair", with_slow(PAIRS, {pair for pair in PAIRS if pair not in FAST}))
def test_every_format_computes_the_same_for_batches_of_1_2_and_7(pair: tuple[str, str], tmp_path: Path) -> None:
    """The matrix of spaces and formats; `-s` prints the differences."""
    space, name = pair
    trained = tiny(space)
    images = torch.randint(256, (7, 3, 16, 16), dtype=torch.uint8)

    if name == "onnx":
        pytest.importorskip("onnxruntime")
    preprocess = FORMATS[name].takes_preprocess
    path = tmp_path / f"model{FORMATS[name].suffix}"
    done = export_network(trained, path, name, preprocess, samples())
    call, inputs = FORMATS[name].decode(path.read_bytes()), images if preprocess else trained.preprocess(images)
    module, found = Deployed(trained, preprocess), []
    for size in BATCHES:
        with torch.no_grad():
            wanted = module(inputs[:size])
            found.append((call(inputs[:size]) - wanted).abs().max().item())
        assert wanted.shape == (size, 3)
    shown = [f"batch {size}: {value:.1e}" for size, value in zip(BATCHES, found, strict=True)]
    print(f"{space:<16} {name:<13}", *shown, f"largest logit {wanted.abs().max():.2g}")
    assert READ[name](path) == ["a", "b", "c"]
    assert done.difference <= TOLERANCE
    assert max(found) <= TOLERANCE * max(1.0, wanted.abs().max().item())


READ: dict[str, Callable[[Path], object]] = {
    "torch_export": lambda path: _extra(torch.export.load, path, "extra_files"),
    "torchscript": lambda path: _extra(torch.jit.load, path, "_extra_files"),
    "state_dict": lambda path: torch.load(path, weights_only=True)["config"]["classes"],
    "onnx": lambda path: _onnx_classes(path),
}


def _extra(load: Callable[..., object], path: Path, argument: str) -> object:
    held: dict[str, str | bytes] = {"config.json": ""}
    load(str(path), **{argument: held})
    return json.loads(held["config.json"])["classes"]


def _onnx_classes(path: Path) -> object:
    runtime = pytest.importorskip("onnxruntime")
    session = runtime.InferenceSession(path.read_bytes())
    assert session.get_inputs()[0].shape == ["batch", 3, 16, 16]
    return json.loads(session.get_modelmeta().custom_metadata_map["classes"])


def test_a_file_that_differs_is_not_kept(
    network: TrainedNetwork, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, images = tmp_path / "model.pt", torch.zeros(2, *network.preprocess.spec.shape, dtype=torch.uint8)
    path.write_bytes(b"before")
    weights = formats.weights_of
    changed = lambda network: {name: value * 1.01 for name, value in weights(network).items()}  # noqa: E731
    monkeypatch.setattr(formats, "weights_of", changed)
    says = (
        "Expected the state_dict file to compute what the network computes, but for a batch of 1 the logits differ by"
    )
    refused(export_network, network, path, "state_dict", False, images, expected=says)
    assert path.read_bytes() == b"before"
    assert os.listdir(tmp_path) == ["model.pt"]


@pytest.fixture(scope="module")
def folder(made: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An exported folder."""
    folder = tmp_path_factory.mktemp("folder") / "exported"
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        assert main(["export", str(made / "run"), "--format", "folder", "--out", str(folder)]) == 0
    assert "of 10 images of the test set" in printed.getvalue()
    return folder


def test_the_folder_is_loaded_by_torch_alone_and_read_back(
    folder: Path, network: TrainedNetwork, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    images = torch.randint(256, (3, *network.preprocess.spec.shape), dtype=torch.uint8)
    torch.save(images, tmp_path / "images.pt")
    code = (
        "import sys; sys.modules.update(dict.fromkeys(['robustnas', 'pytorch_lightning', 'PIL', 'safetensors']))\n"
        f"import torch; sys.path.insert(0, {str(folder)!r}); from load import load; model, config = load()\n"
        f"print(model(torch.load({str(tmp_path / 'images.pt')!r})).tolist(), config['classes'])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    expected = network(network.preprocess(images)).detach()
    logits, _, classes = done.stdout.strip().rpartition(" [")
    torch.testing.assert_close(torch.tensor(json.loads(logits)), expected)
    assert classes == "'class0', 'class1']"
    again = robustnas.load_network(folder / "model.safetensors")  # stands for its folder
    torch.testing.assert_close(again(again.preprocess(images)), expected)
    assert again.preprocess.spec == network.preprocess.spec
    card = (folder / "README.md").read_text(encoding="utf-8")
    for part in ("NASBench201 cell: 0-1", "3 epochs from scratch, seed 0", "top1 ", "multiply-adds", "not recorded"):
        assert part in card
    assert said(["export", str(folder), "--format", "folder", "--out", str(folder)], capsys).startswith(
        "Expected `--out` to be a new or empty folder"
    )


def test_a_tampered_folder_is_refused_in_a_sentence(folder: Path, tmp_path: Path) -> None:
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    weights, _ = read_safetensors((folder / "model.safetensors").read_bytes(), "x")

    def changed(name: str, value: object, both: bool = True) -> Path:
        other = tmp_path / "changed"
        shutil.rmtree(other, ignore_errors=True)
        shutil.copytree(folder, other)
        text = json.dumps({**config, name: value})
        (other / "config.json").write_text(text, encoding="utf-8")
        if both:
            (other / "model.safetensors").write_bytes(write_safetensors(weights, {"config": text}))
        return other

    refused(robustnas.load_network, changed("classes", ["x", "y"], both=False), expected="one of them was changed")
    load = runpy.run_path(str(tmp_path / "changed" / "load.py"))["load"]
    refused(load, tmp_path / "changed", expected="Expected config.json to be as it was exported, but it was changed.")
    wide = {**config["architecture"], "channels": 8}
    rows = [
        ("architecture", {**config["architecture"], "own": 1}, "to describe a network, but: it has"),
        ("architecture", {"class": "os.system"}, "to describe a network, but: 'os.system' is unknown or missing"),
        ("architecture", wide, "to fit the network of"),
        ("mean", [0.5], "Expected `mean` to be a number for each channel"),
    ]
    check_each(rows, lambda row: refused(robustnas.load_network, changed(row[0], row[1]), expected=row[2]))
    intact = changed("schema", config["schema"])
    file = intact / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-4] + b"\x3f" * 4)
    refused(robustnas.load_network, intact, expected="the weights that were exported, but they were changed")


def test_a_place_that_no_file_fits_into_is_refused_first(network: TrainedNetwork, tmp_path: Path) -> None:
    images, taken = torch.zeros(2, *network.preprocess.spec.shape, dtype=torch.uint8), tmp_path / "taken"
    taken.touch()
    rows = [(tmp_path, f"but {tmp_path} is a folder."), (taken / "model.onnx", f"but {taken} is no folder.")]
    check_each(rows, lambda row: refused(export_network, network, row[0], "onnx", False, images, expected=row[1]))


def test_safetensors_files_are_those_of_the_package(tmp_path: Path) -> None:
    package = pytest.importorskip("safetensors.torch")
    tensors = {
        "a": torch.randn(2, 3), "b": torch.arange(3), "c": torch.randn(2, 3).bfloat16(), "d": torch.zeros(0, 2),
        "e": torch.tensor(True),
    }  # fmt: skip
    data = write_safetensors(tensors, {"config": "x"})
    for found in (package.load(data), read_safetensors(data, "x")[0], read_safetensors(package.save(tensors), "x")[0]):
        assert found.keys() == tensors.keys()
        assert all(
            torch.equal(found[name], value) and found[name].dtype == value.dtype for name, value in tensors.items()
        )
    for damaged in (data[:7], data[:-1], b"\xff" * 16, data[:8] + b"[]" + data[10:]):
        refused(
            read_safetensors, damaged, "a file", expected="Expected a file to be a safetensors file, but reading it"
        )


def test_multiply_adds_are_those_of_the_layers() -> None:
    """A stem of 3 x 3 on 3 channels, blocks of 3 x 3 and of 1 x 1 on half as many pixels, and the classifier."""
    same, down = 2 * 9 * 4 * 4 * 256, 9 * 4 * 8 * 64 + 9 * 8 * 8 * 64 + 4 * 8 * 64
    coarse = 9 * 8 * 16 * 16 + 9 * 16 * 16 * 16 + 8 * 16 * 16
    assert multiply_adds(ResNet(4, 1, 3), (3, 16, 16)) == 9 * 3 * 4 * 256 + same + down + coarse + 16 * 3
    assert multiply_adds(tiny("NASBench201").network, (3, 16, 16)) > 0


def test_command_lines_that_cannot_work(made: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = [
        (["--format", "pickle"], "Expected `--format` to be one of"),
        (["--format", "state_dict", "--preprocess"], "Expected no `--preprocess` with the format state_dict"),
    ]

    def check(row: tuple[list[str], str]) -> None:
        sentence = said(["export", str(made / "run"), *row[0]], capsys)
        assert sentence.startswith(row[1]), sentence

    check_each(rows, check)
    assert not (made / "run" / "evaluation" / "model.pt").exists()


def test_without_data_random_images_are_compared(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (run / "evaluation" / "config.yaml").unlink()
    out = str(tmp_path / "weights.pt")
    assert main(["export", str(run), "--format", "state_dict", "--out", out]) == 0
    assert "16 random images, since there are no others" in capsys.readouterr().out
    monkeypatch.setitem(sys.modules, "onnx", None)
    assert said(["export", str(run)], capsys).endswith('Run: pip install "robustnas[export]"')
