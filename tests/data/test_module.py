"""The data module gives each stream its roles, prepares batches and never trains on the test role."""

from __future__ import annotations

import json
from types import SimpleNamespace

import pytest
import torch
from numbered import SEARCH, Numbered, Recorder, trainer
from pytorch_lightning.utilities import CombinedLoader

from robustnas.data import Augmentation, Batch, Digits, ImageData, Images, TensorLoader
from robustnas.data.augmentation import normalise


def test_data_are_loaded_once_and_only_when_asked_for():
    data = Numbered(test_count=7)
    assert data.loads == 0
    assert data.num_classes == 1
    assert data.image_shape == (2, 4, 4)
    assert data.task == "regression"
    data.prepare_data()
    data.setup("fit")
    assert data.loads == 1


def test_a_test_part_is_the_test_role_and_the_roles_are_disjoint(tmp_path):
    data, model = Numbered(test_count=7, fractions=(0.5, 0.3, 0.2)), Recorder(SEARCH)
    trainer(tmp_path, max_epochs=2, num_sanity_val_steps=0).fit(model, data)
    trainer(tmp_path).test(model, data, verbose=False)
    weights = {target for batch in model.trained for target in batch["weights"].targets.tolist()}
    arch = {target for batch in model.trained for target in batch["arch"].targets.tolist()}
    selection = [target for batch in model.validated for target in batch.targets.tolist()]
    tested = [target for batch in model.tested for target in batch.targets.tolist()]
    assert (len(weights), len(arch), len(selection)) == (20, 12, 16)
    assert sorted(weights | arch | set(selection)) == list(range(40))
    assert tested == list(range(7))
    assert torch.equal(model.tested[0].images, data.prepare(next(iter(data.loader("test")))).images)


def test_without_a_test_part_one_is_carved_out():
    data = Numbered(fractions=(0.5, 0.3, 0.2), test_fraction=0.25)
    sizes = {role: entry["size"] for role, entry in data.describe()["roles"].items()}
    assert sizes == {"weights": 15, "arch": 9, "selection": 6, "test": 10}
    assert torch.equal(data.role("test").targets.long(), data.split.indices["test"])


def test_streams_are_those_of_the_model(tmp_path):
    one, several = Recorder(), Recorder(SEARCH)
    trainer(tmp_path, max_epochs=1).fit(one, Numbered())
    trainer(tmp_path, max_epochs=1).fit(several, Numbered())
    assert all(type(batch) is Batch for batch in one.trained)
    assert all(list(batch) == ["weights", "arch"] for batch in several.trained)
    assert len(one.trained) == 29 // 4
    assert len(several.trained) == 15 // 4


def test_loaders_outside_a_trainer():
    data = Numbered()
    assert isinstance(data.train_dataloader(), TensorLoader)
    assert len(data.train_dataloader().indices) == 29
    data.trainer = SimpleNamespace(
        lightning_module=Recorder(SEARCH), global_rank=1, world_size=2, overfit_batches=0, training=True
    )
    combined = data.train_dataloader()
    assert isinstance(combined, CombinedLoader)
    assert {(one.rank, one.world_size, one.stream) for one in combined.flattened} == {(1, 2, "weights"), (1, 2, "arch")}
    assert (data.test_dataloader().rank, data.val_dataloader().world_size) == (1, 2)


def test_without_selection_there_is_no_validation(tmp_path):
    data, model = Numbered(fractions=(0.5, 0.5, 0.0)), Recorder(SEARCH)
    trainer(tmp_path, max_epochs=1).fit(model, data)
    assert model.trained
    assert not model.validated
    with pytest.raises(ValueError, match="Expected the role 'selection' to have samples, but got none"):
        data.role("selection")


def test_validation_batches_have_their_own_size():
    data = Numbered(eval_batch_size=2)
    assert [len(batch.targets) for batch in data.val_dataloader()] == [2, 1]


@pytest.mark.parametrize("augment_arch", [True, False])
def test_training_is_augmented_and_nothing_else(tmp_path, augment_arch):
    augmentation = Augmentation(2, True, 2)
    data, model = Numbered(augmentation=augmentation, augment_arch=augment_arch), Recorder(SEARCH)
    trainer(tmp_path, max_epochs=1).fit(model, data)
    mean, std = torch.tensor(data.prepare.mean), torch.tensor(data.prepare.std)
    everything = data.split.train.pixels
    for name in SEARCH:
        for part in (batch[name] for batch in model.trained):
            raw = everything[part.targets.long()]
            augmented = name == "weights" or augment_arch
            wanted = augmentation(raw, int(part.seed), mean, std) if augmented else normalise(raw, mean, std)
            assert torch.equal(part.images, wanted)
    for batch in model.validated:
        assert torch.equal(batch.images, normalise(everything[batch.targets.long()], mean, std))


def test_normalisation_is_that_of_what_is_searched_on():
    data = Numbered(fractions=(0.4, 0.2, 0.4), test_count=5)
    used = torch.cat([data.role("weights").pixels, data.role("arch").pixels])
    prepared = data.prepare(Batch(used, torch.zeros(24), torch.tensor(0))).images.double()
    torch.testing.assert_close(prepared.mean((0, 2, 3)), torch.zeros(2).double(), rtol=0, atol=1e-6)
    torch.testing.assert_close(prepared.std((0, 2, 3), correction=0), torch.ones(2).double(), rtol=1e-6, atol=0)


def test_given_normalisation_is_used():
    data = Numbered(mean=(0.5, 0.25), std=(0.5, 2.0))
    batch = next(iter(data.val_dataloader()))
    expected = (batch.images / 255 - torch.tensor([0.5, 0.25]).view(2, 1, 1)) / torch.tensor([0.5, 2.0]).view(2, 1, 1)
    torch.testing.assert_close(data.prepare(batch).images, expected)
    assert data.describe()["std"] == [0.5, 2.0]


@pytest.mark.parametrize(("precision", "dtype"), [("64-true", torch.float64), ("bf16-true", torch.bfloat16)])
def test_images_have_the_precision_of_the_trainer(tmp_path, precision, dtype):
    model = Recorder(SEARCH)
    trainer(tmp_path, precision=precision, max_epochs=1, limit_train_batches=1).fit(model, Numbered())
    assert {batch[name].images.dtype for batch in model.trained for name in SEARCH} == {dtype}


def test_overfitting_repeats_the_same_batches(tmp_path):
    model = Recorder()
    trainer(tmp_path, overfit_batches=2, max_epochs=2).fit(model, Numbered())
    first, second = model.trained[:2], model.trained[2:]
    assert [batch.targets.tolist() for batch in first] == [batch.targets.tolist() for batch in second]


def test_the_seed_stays_on_the_cpu():
    batch = next(iter(Numbered().train_dataloader()))
    moved = Numbered().transfer_batch_to_device({"weights": batch}, torch.device("meta"), 0)["weights"]
    assert moved.images.device.type == moved.targets.device.type == "meta"
    assert moved.seed.device.type == "cpu"
    assert int(moved.seed) == int(batch.seed)


def test_the_manifest_is_plain_and_complete():
    data = Digits(split_seed=3)
    manifest = data.describe()
    assert json.loads(json.dumps(manifest)) == manifest
    assert manifest["source"] == "Digits"
    assert (manifest["seed"], manifest["split_seed"], manifest["task"]) == (0, 3, "classification")
    assert manifest["image_shape"] == [1, 8, 8]
    assert sum(entry["size"] for entry in manifest["roles"].values()) == 1797
    for role, entry in manifest["roles"].items():
        assert entry["class_counts"] == data.role(role).class_counts()
        assert len(entry["sha256"]) == 64
    assert manifest["train_sha256"] == data.split.train.content_hash()
    assert manifest["test_sha256"] is None


def test_training_is_not_resumed_on_other_roles(tmp_path):
    path = tmp_path / "x.ckpt"
    fitted = trainer(tmp_path, max_epochs=1)
    fitted.fit(Recorder(), Numbered())
    fitted.save_checkpoint(path)
    with pytest.raises(ValueError, match=r"other samples for \['weights', 'arch', 'selection', 'test'\]"):
        trainer(tmp_path).fit(Recorder(), Numbered(split_seed=1), ckpt_path=path, weights_only=True)
    model = Recorder()
    trainer(tmp_path).test(model, Numbered(split_seed=1), ckpt_path=path, weights_only=True, verbose=False)
    assert model.tested


def test_the_test_role_is_never_trained_on(tmp_path):
    with pytest.raises(ValueError, match="to train on other roles than 'test'"):
        trainer(tmp_path).fit(Recorder({"train": ("test",)}), Numbered())
    with pytest.raises(ValueError, match="or 'test' alone, but got"):
        Numbered().loader("weights", "test")
    with pytest.raises(ValueError, match=r"Expected roles among .* but got \['train'\]"):
        Numbered().loader("train")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"batch_size": 0}, "Expected `batch_size` to be at least 1, but got 0"),
        ({"eval_batch_size": 0}, "Expected `eval_batch_size` to be at least 1, but got 0"),
        ({"mean": (0.5, 0.5)}, "Expected `mean` and `std` to be given together"),
        ({"mean": (0.5,), "std": (0.5,)}, "to have 2 values, one for each channel, but got 1"),
        ({"augmentation": Augmentation(4)}, "Expected `augmentation.crop` to be below 4"),
        ({"fractions": (0.9, 0.9, 0.1)}, "Expected `fractions`"),
    ],
)
def test_impossible_options_are_refused_before_training(options, message):
    with pytest.raises(ValueError, match=message):
        Numbered(**options).setup("fit")


def test_a_batch_larger_than_the_data_is_refused_before_training(tmp_path):
    with pytest.raises(ValueError, match=r"Expected `batch_size` .* of the 15 samples of 'weights', but got 64"):
        trainer(tmp_path).fit(Recorder(SEARCH), Numbered(batch_size=64))


def labelled(targets, classes, shape=(1, 2, 2)):
    pixels = torch.zeros(len(targets), *shape, dtype=torch.uint8)
    return Images(pixels, torch.tensor(targets), "classification", classes)


@pytest.mark.parametrize(
    ("train", "test", "message"),
    [
        (labelled([1] * 9, ("cat", "dog")), None, "at least two classes, but got 9 of class 'dog' alone"),
        (labelled([0, 1], ("cat", "dog")), labelled([0, 1], ("cat", "cow")), "have the classes of the training part"),
        (labelled([0, 1], ("a", "b")), labelled([0], ("a", "b"), (1, 3, 2)), r"have the shape .* but got \(1, 3, 2\)"),
    ],
)
def test_parts_that_do_not_fit_are_refused(train, test, message):
    class Given(ImageData):
        def load(self):
            return train, test

    with pytest.raises(ValueError, match=message):
        Given().prepare_data()
