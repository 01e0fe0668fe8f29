"""Image files of a folder, and the parts of a data set in its folders."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from robustnas.data.parts import Part, part_of
from robustnas.data.wording import SHOWN, listed

SUFFIXES = {
    ".bmp", ".gif", ".jfif", ".jpe", ".jpeg", ".jpg", ".pbm", ".pgm", ".png", ".pnm", ".ppm", ".tif", ".tiff", ".webp",
}  # fmt: skip


@dataclass
class Listing:
    """Image files of a folder, and what was left out.

    Attributes:
        hidden: Image files that are hidden, or lie in hidden folders.
        other_endings: Files that are no images, by the ending of their name.
        outside_classes: Image files beside the folders of the classes or parts.
        broken_links: Names of images that lead to no file.
        linked_folders: Links to folders below the folder of a class, which are not followed.
        folders_without_images: Those beside the folders of the parts.
    """

    hidden: int = 0
    other_endings: Counter[str] = field(default_factory=Counter)
    outside_classes: int = 0
    broken_links: int = 0
    linked_folders: list[str] = field(default_factory=list)
    folders_without_images: list[str] = field(default_factory=list)

    def images(self, folder: Path, root: Path) -> list[Path]:
        """Image files below ``folder``, sorted by path; those hidden by a name below ``root`` are only counted."""
        found = []
        for path in sorted(folder.rglob("*")):
            hidden = any(name.startswith(".") for name in path.relative_to(root).parts)
            if path.is_dir():
                if path.is_symlink() and not hidden:
                    self.linked_folders.append(path.relative_to(root).as_posix())
                continue
            ending = path.suffix.lower()
            if ending in SUFFIXES and hidden:
                self.hidden += 1
            elif ending in SUFFIXES and path.is_file():
                found.append(path)
            elif ending in SUFFIXES:
                self.broken_links += 1
            elif not hidden:
                self.other_endings[ending or "none"] += 1
        return found

    def classes(self, folder: Path) -> dict[str, list[Path]]:
        """Image files by class, from the folders in ``folder``; a class without an image is refused."""
        found = {path.name: self.images(path, folder) for path in subfolders(folder)}
        empty = [name for name, files in found.items() if not files]
        if not found or empty:
            got = f"no image in {listed([repr(name) for name in empty])}" if empty else "none"
            raise ValueError(f"Expected {str(folder)!r} to hold a folder of images for each class, but got {got}.")
        self._count_beside(folder)
        return found

    def parts(self, root: Path) -> dict[Part, Path]:
        """Folders of the parts, if one is named like a training part and holds folders itself; otherwise empty."""
        folders = subfolders(root)
        known = {path: part for path in folders if (part := part_of(path.name)) is not None}
        if not any(part == "train" and subfolders(path) for path, part in known.items()):
            if known and len(known) == len(folders):
                names = listed([repr(path.name) for path in known])
                raise ValueError(
                    f"Expected `root` to hold a folder for each class, or a folder train that holds them, but got "
                    f"{names}, named like the parts of a data set; `labels` can name targets of images that lie there."
                )
            return {}
        found: dict[Part, Path] = {}
        for path in folders:
            named = known.get(path)
            if named is not None and named in found:
                names = f"{found[named].name!r} and {path.name!r}"
                raise ValueError(f"Expected one folder of each part in {str(root)!r}, but got {names} for {named}.")
            if named is not None:
                found[named] = path
            elif Listing().images(path, root):
                raise ValueError(
                    f"Expected the folders in {str(root)!r} to be parts called train, val and test, since "
                    f"{next(one.name for one in known)!r} is one, but got images in {path.name!r} too."
                )
            else:
                self.folders_without_images.append(path.name)
        self._count_beside(root)
        return found

    def _count_beside(self, folder: Path) -> None:
        """Count the images in ``folder`` that lie in no class or part, and the hidden ones."""
        for path in folder.iterdir():
            if path.is_dir():
                if path.name.startswith("."):
                    self.images(path, folder)
            elif path.suffix.lower() in SUFFIXES:
                self.hidden += path.name.startswith(".")
                self.outside_classes += not path.name.startswith(".")

    def reading(self) -> dict[str, Any]:
        """What was skipped, as plain JSON values."""
        endings = dict(self.other_endings.most_common(SHOWN))
        if others := self.other_endings.total() - sum(endings.values()):
            endings["others"] = others
        return {name: value for name, value in {**vars(self), "other_endings": endings}.items() if value}


def subfolders(folder: Path) -> list[Path]:
    """Folders in ``folder`` that are not hidden, sorted by name; none if it is not a folder."""
    if not folder.is_dir():
        return []
    return sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))
