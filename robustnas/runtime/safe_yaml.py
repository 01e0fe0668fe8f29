"""Safe reading of YAML: plain data only, of limited size, without repeated keys.

A line of YAML can expand to gigabytes, since an alias repeats what it names and a merge key (``<<``) copies it. So the
events of a text are counted before anything is built, an alias as often as it is used.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from robustnas.runtime.safe_files import check_numbers, read_bytes

MAX_BYTES = 2**22  # bytes of a YAML file; the longest that robustnas writes has a thousandth
MAX_VALUES = 100_000  # values in a YAML file, aliases counted at each use
MAX_DEPTH = 100  # of nested values; configurations have ten levels
MAX_NUMBER_LENGTH = 300  # characters of a number
PLAIN_TAGS = {"!", *(f"tag:yaml.org,2002:{kind}" for kind in ("str", "int", "float", "bool", "null", "seq", "map"))}


class RefusedError(yaml.YAMLError):
    """YAML of correct syntax that is refused; the message says what was found."""


class _RefusedFileError(RefusedError, TypeError):
    """A refused file: jsonargparse handles one of the two base errors, depending on where it reads."""


def read_yaml(path: Path) -> Any:
    """Read a YAML file in UTF-8 as dicts, lists, strings, booleans, ``None`` and finite numbers."""
    try:
        content = yaml.load(_text(path), _loader())  # a safe loader
    except OSError as error:
        reason = error.strerror or str(error)
    except RecursionError:
        reason = "it nests too deeply or contains itself"
    except (ValueError, yaml.YAMLError) as error:
        reason = " ".join(str(error).split())
    else:
        check_numbers(content, source=f" in {path}")
        return content
    if reason.startswith("Expected "):  # from the check of the size
        raise ValueError(reason)
    raise ValueError(f"Expected {path} to be a configuration in YAML, but reading it fails: {reason.rstrip('.')}.")


def parse_yaml(text: str) -> Any:
    """Read a text as :func:`read_yaml` reads a file; a ``YAMLError`` if it is none or refused."""
    return yaml.load(text, _loader())  # a safe loader


@contextlib.contextmanager
def checked_yaml() -> Iterator[None]:
    """Let jsonargparse read YAML as :func:`read_yaml` does: files, the files that they name, and values of options."""
    from jsonargparse import _loaders_dumpers, _paths

    reads, loader = _paths.Path.read_text, _loaders_dumpers.yaml_default_loader

    def read_text(self: _paths.Path) -> str:
        if self._std_io or self.is_url or self.is_fsspec:
            return reads(self)
        path = Path(self.absolute)
        try:
            if path.is_file():  # a pipe can be read only once
                read_yaml(path)
            return _text(path)
        except ValueError as error:
            raise _RefusedFileError(str(error)) from error

    _paths.Path.read_text = read_text  # type: ignore[method-assign]
    _loaders_dumpers.yaml_default_loader = _loader()
    try:
        yield
    finally:
        _paths.Path.read_text = reads  # type: ignore[method-assign]
        _loaders_dumpers.yaml_default_loader = loader


def _text(path: Path) -> str:
    return read_bytes(path, MAX_BYTES).decode("utf-8-sig")


@functools.cache
def _loader() -> Any:
    """The loader of jsonargparse, so that a number is parsed the same everywhere, with limits."""
    from jsonargparse._loaders_dumpers import get_yaml_default_loader

    base: Any = get_yaml_default_loader()  # type: ignore[no-untyped-call]

    class Loader(base):  # type: ignore[misc]
        def __init__(self, stream: str) -> None:
            try:
                _count(yaml.parse(stream, Loader=base))
                super().__init__(stream)
            except UnicodeEncodeError:
                raise RefusedError("a surrogate character, which stands for a byte that is not UTF-8") from None
            self._seen: set[int] = set()

        def flatten_mapping(self, node: yaml.MappingNode) -> None:
            if id(node) not in self._seen:  # merging changes the node, and an alias may return to it
                self._seen.add(id(node))
                self._check_names(node)
            super().flatten_mapping(node)

        def _check_names(self, node: yaml.MappingNode) -> None:
            names = set()
            for key, _ in node.value:
                if not isinstance(key, yaml.ScalarNode):
                    raise RefusedError(f"a key in line {key.start_mark.line + 1} that is a list or a mapping")
                name = key.value if key.tag == "tag:yaml.org,2002:merge" else self.construct_object(key)
                if name in names:
                    raise RefusedError(
                        f"the key {name!r} is repeated in one mapping, in line {key.start_mark.line + 1}"
                    )
                names.add(name)

        def construct_number(self, node: yaml.ScalarNode) -> int | float | str:
            if ":" in node.value:  # YAML 1.1 reads 1:30 as 90, in base 60; a time such as `max_time` is meant
                return str(node.value)
            kind = node.tag.rpartition(":")[2]
            if len(node.value) > MAX_NUMBER_LENGTH:
                raise RefusedError(f"a number of {len(node.value):,} characters in line {node.start_mark.line + 1}")
            try:
                number: int | float = getattr(self, f"construct_yaml_{kind}")(node)
            except (ValueError, OverflowError) as error:
                raise RefusedError(f"{node.value!r}, which is not a number: {error}") from error
            if isinstance(number, int) and number.bit_length() > 64:
                raise RefusedError(f"a number of more than 64 bits in line {node.start_mark.line + 1}")
            return number

    for kind in ("int", "float"):
        Loader.add_constructor(f"tag:yaml.org,2002:{kind}", Loader.construct_number)
    return Loader


def _count(events: Iterator[yaml.Event]) -> None:
    """Refuse a text that expands to more values, or nests deeper, than a configuration does."""
    sizes: dict[str, int] = {}  # anchor: number of values
    begun: list[tuple[str | None, int]] = []  # anchor of an open collection, and the values before it
    total = 0
    for event in events:
        if isinstance(event, yaml.CollectionEndEvent):
            anchor, before = begun.pop()
        elif isinstance(event, yaml.AliasEvent):
            if any(anchor == event.anchor for anchor, _ in begun):
                raise RefusedError("it nests too deeply or contains itself")
            total += sizes.get(event.anchor or "", 1)
            anchor, before = None, total
        elif isinstance(event, yaml.NodeEvent):
            tag = getattr(event, "tag", None)
            if tag is not None and tag not in PLAIN_TAGS:
                raise RefusedError(
                    f"the tag {tag} in line {getattr(event.start_mark, 'line', 0) + 1}, which is not plain data"
                )
            anchor, before = event.anchor, total
            total += 1
            if isinstance(event, yaml.CollectionStartEvent):
                begun.append((anchor, before))
                anchor = None
        else:
            continue
        if anchor is not None:
            sizes[anchor] = total - before
        if total > MAX_VALUES:
            raise RefusedError(f"more than {MAX_VALUES:,} values, those of an alias counted at each use")
        if len(begun) > MAX_DEPTH:
            raise RefusedError("it nests too deeply or contains itself")
