"""Remarks on a data set before training: skipped files, rare classes, duplicates."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from typing import Any

from pytorch_lightning.utilities import rank_zero_only
from torch import Tensor

from robustnas.data.roles import SplitImages
from robustnas.data.wording import listed

_LOG = logging.getLogger(__name__)

MIN_SAMPLES = 10  # of a class in weights and arch together; fewer are remarked on
LEFT_OUT = {  # sentences for the counts of `Images.reading`
    "unreadable": "left out {} that cannot be read ({})",
    "hidden": "left out {} that are hidden or lie in hidden folders",
    "outside_classes": "left out {} that lie beside the folders of the classes or parts",
    "broken_links": "left out {} whose links lead to no file",
    "not_in_labels": "left out {} below `root` that `labels` does not name",
    "composited": "composited {} with transparent pixels on `background`",
    "first_frame": "read the first frame of {} with several",
    "huge": "read {} so large that Pillow suspects a decompression bomb ({})",
}


@rank_zero_only
def log_remarks(split: SplitImages) -> None:
    """Log the remarks on a data set, on one process."""
    for sentence in remarks(split):
        _LOG.warning(sentence)


def remarks(split: SplitImages) -> list[str]:
    """Remarks on a data set, each a sentence."""
    return [*_skipped(split), *_validation(split), *_single_colour(split), *_rare_classes(split), *_duplicates(split)]


def _skipped(split: SplitImages) -> Iterator[str]:
    for part, reading in split.reading().items():
        if said := list(_left_out(reading)):
            yield f"The {part} part: {'; '.join(said)}."


def _left_out(reading: Mapping[str, Any]) -> Iterator[str]:
    for name, words in LEFT_OUT.items():
        if found := reading.get(name):
            count = len(found) if isinstance(found, list) else found
            images = f"{count} image{'' if count == 1 else 's'}"
            yield words.format(images, listed(found, "; ")) if isinstance(found, list) else words.format(images)
    if endings := reading.get("other_endings"):
        kinds = [f"{count} {ending}" for ending, count in endings.items()]
        yield f"left out files that are not images, by extension ({listed(kinds)})"
    if folders := reading.get("folders_without_images"):
        yield f"left out folders without images ({listed(folders)})"
    if links := reading.get("linked_folders"):
        names = listed([repr(link) for link in links])
        yield f"left out what lies behind links to folders in the folder of a class ({names})"
    if splits := reading.get("unused_splits"):
        yield f"left out the splits {listed(splits)}, which `val_split` and `test_split` do not name"
    if ignored := reading.get("ignored_names"):
        yield f"ignored the class names in the metadata, which are not a list of distinct names ({ignored})"


def _validation(split: SplitImages) -> Iterator[str]:
    if count := split.given.get("selection"):
        sizes = " and ".join(f"{role} {len(split.indices[role])}" for role in ("weights", "arch"))
        yield (
            f"The validation part of the data set ({count} images) becomes the role selection; the share of selection "
            f"in `fractions` is given to weights and arch ({sizes})."
        )


def _single_colour(split: SplitImages) -> Iterator[str]:
    images = [part for part in (split.train, split.test) if part is not None]
    total = sum(map(len, images))
    if count := sum(_constant(part.pixels) for part in images):
        composited = any("composited" in reading for reading in split.reading().values())
        hint = "; another `background` may show the shapes of transparent images" if composited else ""
        yield f"{count} of {total} images have a single colour, so nothing can be learned from them{hint}."


def _constant(pixels: Tensor) -> int:
    flat = (chunk.flatten(2) for chunk in pixels.split(1024))
    return sum(int((part == part[..., :1]).flatten(1).all(1).sum()) for part in flat)


def _rare_classes(split: SplitImages) -> Iterator[str]:
    counts = split.class_counts()
    if not counts["weights"]:  # regression has no classes
        return
    word, plural = ("class", "Classes") if split.train.task == "classification" else ("label", "Labels")
    trained = {name: count + counts.get("arch", {}).get(name, 0) for name, count in counts["weights"].items()}
    if few := [f"{name!r} ({count})" for name, count in trained.items() if count < MIN_SAMPLES]:
        yield (
            f"{plural} with fewer than {MIN_SAMPLES} samples in the roles weights and arch together ({len(few)} of "
            f"{len(trained)}): {listed(few)}."
        )
    missing = {role: [repr(name) for name, count in found.items() if not count] for role, found in counts.items()}
    if said := [f"{role} has none of {listed(names)}" for role, names in missing.items() if names]:
        yield f"Some roles lack samples of a {word}: {'; '.join(said)}."


def _duplicates(split: SplitImages) -> Iterator[str]:
    if not (found := split.duplicates()).copies:
        return
    says = f"{found.copies} images have the same pixels as another one"
    if found.across_roles:
        says += (
            f"; {found.across_roles} distinct images lie in more than one role"
            f"{f', {found.with_test} of them in test' if found.with_test else ''}, and results on images that "
            "were trained on are too optimistic"
        )
    yield f"{says}."
