"""A search with its data, out of a checkpoint."""

from __future__ import annotations

from pathlib import Path

import jsonargparse

from robustnas.cli.errors import explain
from robustnas.cli.evaluation import data_of
from robustnas.data import ImageData
from robustnas.runs.record import Run
from robustnas.runtime.trust import only_trusted
from robustnas.training import SearchModule, load


def open_search(checkpoint: str) -> tuple[SearchModule, ImageData, Path]:
    """A search and its data, as the configuration beside the checkpoint says.

    Args:
        checkpoint: The checkpoint, or the folder of its run.

    Returns:
        The search on the CPU, its data set up, and the folder of the run.

    Raises:
        ValueError: If the checkpoint is none of a search, or its folder has no configuration that works.
    """
    path = Path(checkpoint)
    path = Run(path).checkpoint if path.is_dir() else path
    search = load(path, SearchModule)
    parser = jsonargparse.ArgumentParser(exit_on_error=False, allow_abbrev=False)
    parser.add_subclass_arguments(ImageData, "data")
    try:
        with only_trusted():
            data: ImageData = parser.instantiate_classes(parser.parse_object({"data": data_of(path.parent)})).data
    except (jsonargparse.ArgumentError, ValueError) as error:
        raise ValueError(explain(str(error))) from error
    data.setup("fit")
    return search, data, path.parent
