"""A run gives its network, genotype and search in one line, by itself, and says what it lacks."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from refusals import GENOTYPE, refused
from robustnas.variants import DARTS
from tables import check_each

import robustnas
from robustnas.data import ImageFolder
from robustnas.inference import TrainedNetwork
from robustnas.runs.record import Run
from robustnas.runtime.safe_files import load_checkpoint
from robustnas.spaces import Genotype
from robustnas.training import EvaluationModule, load

OTHER = GENOTYPE.replace("nor_conv_3x3~0", "avg_pool_3x3~0")


def test_the_network_is_the_one_that_was_tested(made: Path, network: TrainedNetwork) -> None:
    """Accuracy on the role test, read as files again, is that of test.json."""
    data = ImageFolder(made / "images", image_size=8, batch_size=8)
    data.setup("test")
    images = data.role("test")
    found = torch.tensor([one.index for one in network.predict(images.pixels)])
    told = json.loads((made / "run" / "evaluation" / "test.json").read_text(encoding="utf-8"))
    assert (found == images.targets).double().mean().item() == pytest.approx(told["test/top1"])
    assert network.classes == ("class0", "class1")
    assert not network.training
    assert not any(module.training for module in network.modules())
    batch = data.prepare(next(iter(data.test_dataloader())))
    torch.testing.assert_close(network.preprocess(images.pixels[:8]), batch.images, rtol=0, atol=0)


def test_every_way_to_name_an_evaluation_gives_the_same_weights(made: Path, network: TrainedNetwork) -> None:
    expected = network.state_dict()
    for name in ("run/evaluation", "run/evaluation/last.ckpt"):
        state = robustnas.load_network(made / name).state_dict()
        assert all(torch.equal(value, expected[key]) for key, value in state.items())
    assert not [key for key in expected if key.startswith("preprocess")]


def test_a_checkpoint_can_be_used_alone(made: Path, network: TrainedNetwork, tmp_path: Path) -> None:
    """Neither the folder of the search nor the record beside it is read."""
    alone = tmp_path / "alone.ckpt"
    checkpoint = load_checkpoint(made / "run" / "evaluation" / "last.ckpt")
    checkpoint["robustnas"]["module"]["init_args"]["architecture"]["init_args"]["genotype"] = "gone/run"
    torch.save(checkpoint, alone)
    moved = robustnas.load_network(alone)
    assert moved.preprocess.spec == network.preprocess.spec
    images = torch.rand(2, 3, 8, 8)
    torch.testing.assert_close(moved(images), network(images), rtol=0, atol=0)
    assert robustnas.load_genotype(alone) == Genotype.from_nasbench201(GENOTYPE)


def test_older_runs_are_read_from_the_record_beside_them(run: Path, network: TrainedNetwork) -> None:
    path = run / "evaluation" / "last.ckpt"
    checkpoint = load_checkpoint(path)
    del checkpoint["robustnas"]["inputs"]
    torch.save(checkpoint, path)
    assert robustnas.load_network(run).preprocess.spec == network.preprocess.spec
    (run / "evaluation" / "manifest.json").unlink()
    says = r"to hold the classes and the normalisation of its data, but it is of an older version, and manifest.json"
    with pytest.raises(ValueError, match=says):
        robustnas.load_network(run)


def test_genotypes_are_read_from_runs_checkpoints_files_and_texts(made: Path) -> None:
    expected, run = Genotype.from_nasbench201(GENOTYPE), made / "run"
    for source in (run, run / "evaluation", run / "evaluation" / "last.ckpt", run / "genotype.json", str(expected)):
        assert robustnas.load_genotype(source) == expected


def test_a_search_comes_with_its_weights_and_alpha(tmp_path: Path) -> None:
    search = DARTS(space="NASBench201", channels=2, cells=1, image_channels=1)
    with torch.no_grad():
        search.alphas["cell"].normal_()
    checkpoint = {"state_dict": search.state_dict()}
    search.on_save_checkpoint(checkpoint)
    torch.save(checkpoint, tmp_path / "last.ckpt")
    for source in (tmp_path, tmp_path / "last.ckpt"):
        found = robustnas.load_search(source)
        assert isinstance(found, DARTS)
        assert not found.training
        assert torch.equal(found.alphas["cell"], search.alphas["cell"])
        assert found.genotype() == search.genotype()
    refused(
        robustnas.load_network, tmp_path / "last.ckpt", expected="is a search by DARTS; first run: robustnas evaluate"
    )
    assert robustnas.load_genotype(tmp_path / "last.ckpt") == search.genotype()


def test_what_is_no_evaluation_is_refused_in_a_sentence(made: Path, run: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "text.ckpt").write_text("not a checkpoint", encoding="utf-8")
    shutil.rmtree(run / "evaluation")
    rows = [
        (robustnas.load_network, run, "is a search whose network was not trained; first run: robustnas evaluate"),
        (robustnas.load_network, tmp_path / "gone", "to be the folder of a run or a checkpoint, but there is no"),
        (
            robustnas.load_network,
            tmp_path / "empty",
            "Expected `run` to be a run with a checkpoint, but there is no last",
        ),
        (robustnas.load_network, tmp_path / "text.ckpt", "to be a checkpoint of robustnas, but reading it fails"),
        (robustnas.load_search, made / "run" / "evaluation", "is an evaluation; load_network loads it"),
        (robustnas.load_search, run, "to be a search or its checkpoint, but there is no file"),
        (robustnas.load_genotype, tmp_path / "empty", "to hold genotype.json"),
    ]
    check_each(rows, lambda row: refused(row[0], row[1], expected=row[2]))


def test_weights_of_another_genotype_are_refused(run: Path) -> None:
    Run(run).write_genotype(Genotype.from_nasbench201(OTHER))
    refused(robustnas.load_network, run, expected="to hold weights of the genotype of")
    assert robustnas.load_genotype(run / "evaluation") == Genotype.from_nasbench201(GENOTYPE)
    assert robustnas.load_network(run / "evaluation").classes == ("class0", "class1")


def test_tampered_inputs_are_refused(run: Path) -> None:
    path = run / "evaluation" / "last.ckpt"
    checkpoint = load_checkpoint(path)
    good = checkpoint["robustnas"]["inputs"]

    def check(row: tuple[str, object, str]) -> None:
        name, value, says = row
        checkpoint["robustnas"]["inputs"] = {**good, name: value}
        torch.save(checkpoint, path)
        refused(robustnas.load_network, run, expected=says)

    rows = [
        ("shape", [3, 8], "Expected `shape` to be channels, height and width"),
        ("std", [0.0, 1.0, 1.0], "Expected `std` to be a number for each channel"),
        ("classes", [], "Expected `classes` to name the outputs"),
        ("classes", ["a", "b", "c"], "names 3 outputs, but its network has 2"),
        ("task", "x", "Expected `task` to be one of"),
        ("decoding", {"own": 1}, "to describe the inputs of a network"),
    ]
    check_each(rows, check)


def test_the_package_stays_light_until_a_network_is_asked_for() -> None:
    code = "import sys, robustnas; assert 'load_network' in dir(robustnas); print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.strip() == "False", done.stderr
    with pytest.raises(AttributeError, match="no attribute 'load_nothing'"):
        _ = robustnas.load_nothing


def test_lightning_predicts_probabilities(made: Path) -> None:
    import pytorch_lightning as pl

    data = ImageFolder(made / "images", image_size=8, batch_size=8)
    trainer = pl.Trainer(accelerator="cpu", logger=False, enable_progress_bar=False, enable_checkpointing=False)
    module = load(made / "run" / "evaluation" / "last.ckpt", EvaluationModule)
    found = torch.cat(trainer.predict(module, data))
    torch.testing.assert_close(found.sum(1), torch.ones(len(data.role("test"))))
    expected = [one.probabilities for one in robustnas.load_network(made / "run").predict(data.role("test").pixels)]
    torch.testing.assert_close(found, torch.tensor(expected))
    search = DARTS(space="NASBench201", channels=2, cells=1, num_classes=2)
    refused(trainer.predict, search, data, expected="Expected `model` to be an evaluation, whose network predicts")
