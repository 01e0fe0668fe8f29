"""What a user may write in YAML or on the command line reaches the data modules."""

from __future__ import annotations

import pytest
from jsonargparse import ArgumentParser

from robustnas.data import Augmentation, Digits, HubImages, ImageData, ImageFolder, ParquetImages


def instantiate(parser, config):
    """Under the name that jsonargparse 4.49 gave it, or the one before."""
    return (getattr(parser, "instantiate", None) or parser.instantiate_classes)(config).data


def parse(*arguments):
    parser = ArgumentParser(exit_on_error=False)
    parser.add_subclass_arguments(ImageData, "data", required=True)
    config = parser.parse_args(list(arguments))
    return instantiate(parser, config), parser.dump(config)


def test_short_names_find_the_classes():
    for kind, extra in (
        (Digits, []),
        (ImageFolder, ["--data.root=x"]),
        (ParquetImages, ["--data.train=x"]),
        (HubImages, ["--data.name=a/b"]),
    ):
        assert type(parse(f"--data={kind.__name__}", *extra)[0]) is kind


def test_shared_arguments_reach_the_base():
    data, _ = parse(
        "--data=Digits",
        "--data.batch_size=32",
        "--data.fractions=[0.4, 0.4, 0.2]",
        "--data.mean=[0.3]",
        "--data.std=[0.4]",
        "--data.split_seed=7",
    )
    assert (data.batch_size, data.fractions, data.mean, data.split_seed) == (32, (0.4, 0.4, 0.2), (0.3,), 7)
    assert data.augmentation == Augmentation(crop=1, flip=False)


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--data.augmentation=null"], None),
        (["--data.augmentation.cutout=3"], Augmentation(crop=1, flip=False, cutout=3)),
        (['--data.augmentation={"crop": 2, "flip": true, "cutout": 0}'], Augmentation(crop=2)),
    ],
)
def test_augmentation_can_be_changed_and_switched_off(arguments, expected):
    assert parse("--data=Digits", *arguments)[0].augmentation == expected


def test_a_printed_configuration_gives_the_same_module(tmp_path):
    arguments = ["--data=ParquetImages", "--data.train=x", "--data.target_columns=[a, b]", "--data.task=regression"]
    data, text = parse(*arguments, "--data.limit=5", "--data.channels=1")
    path = tmp_path / "config.yaml"
    path.write_text(text)
    parser = ArgumentParser(exit_on_error=False)
    parser.add_argument("--config", action="config")
    parser.add_subclass_arguments(ImageData, "data")
    again = instantiate(parser, parser.parse_args([f"--config={path}"]))
    assert vars(again).keys() == vars(data).keys()
    for name in ("train_path", "target_columns", "target_task", "limit", "decoding", "augmentation", "fractions"):
        assert getattr(again, name) == getattr(data, name)
    assert again.target_columns == ["a", "b"]
