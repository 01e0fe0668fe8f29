"""``robustnas export``: a trained network as a file that needs this library no more."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from robustnas.cli.configuration import data_of, instance_of
from robustnas.cli.errors import Parser
from robustnas.data import ImageData
from robustnas.inference import TrainedNetwork, load_network
from robustnas.inference.card import card_of
from robustnas.inference.export import FOLDER, TOLERANCE, export_network
from robustnas.inference.folder import is_exported
from robustnas.inference.formats import FORMATS
from robustnas.inference.loading import find_evaluation

SAMPLES = 16  # images that are compared


def parser() -> Parser:
    """The options of ``robustnas export``."""
    parser = Parser(
        prog="robustnas export",
        description="Write the trained network of an evaluation for use without robustnas, for batches of any size. "
        "What was written is loaded again and compared with the network; what differs is not kept.",
        epilog='onnx needs the extra `export`: pip install "robustnas[export]". `folder` holds a program that torch '
        "alone runs, weights as safetensors, the configuration, a loader and a model card.",
    )
    parser.add_path("run", metavar="RUN", help="folder of an evaluation or of its search, or a checkpoint")
    parser.add_argument("--format", choices=[*FORMATS, FOLDER], default="onnx", help="format (default: onnx)")
    parser.add_path("--out", metavar="PATH", help="file or folder (default: beside the checkpoint)")
    parser.add_argument(
        "--preprocess",
        action="store_true",
        help="take uint8 images [batch, channels, height, width] and normalise them",
    )
    return parser


def main(arguments: list[str]) -> None:
    """Export the network of a run."""
    options = parser().parse_args(arguments[1:])
    trained = load_network(options.run)
    source = Path(options.run)
    checkpoint = source / "config.json" if is_exported(source) else find_evaluation(source)
    samples, kind = _samples(checkpoint.parent, trained)
    suffix = FORMATS[options.format].suffix if options.format in FORMATS else ""
    path = Path(options.out or checkpoint.parent / (f"model{suffix}" if suffix else "exported"))
    card = card_of(trained, checkpoint) if options.format == FOLDER else ""
    done = export_network(trained, path, options.format, options.preprocess, samples, card)
    found = f"largest difference of the logits {done.difference:.2g}, of at most {TOLERANCE:g}"
    print(f"{done.path}: {options.format}, {found}, in batches of 1, 2 and 7 of {kind}")


def _samples(folder: Path, trained: TrainedNetwork) -> tuple[Tensor, str]:
    """Images of the role test of the run's data, or random ones where these cannot be read; and what they are."""
    shape = trained.preprocess.spec.shape
    try:
        data: ImageData = instance_of(ImageData, "data", data_of(folder))
        if data.image_shape == shape:
            pixels = data.role("test").pixels[:SAMPLES]
            return pixels, f"{len(pixels)} images of the test set"
        reason = f"those of the data are of the shape {list(data.image_shape)}"
    except (ValueError, OSError) as error:
        reason = " ".join(str(error).split())
    drawn = torch.randint(256, (SAMPLES, *shape), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    return drawn, f"{SAMPLES} random images, since there are no others: {reason}"
