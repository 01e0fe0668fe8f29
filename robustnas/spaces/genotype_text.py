"""Reading genotypes in the forms that people exchange: JSON, one line, the output of DARTS, a NAS-Bench-201 string."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

from robustnas.spaces.genotype import Genotype
from robustnas.spaces.space import SearchSpace

FORMS = (
    "JSON, one line such as `S2 normal: 0-2 skip_connect, ... | reduce: ...`, a string of NAS-Bench-201, or "
    "`Genotype(normal=[...], normal_concat=..., reduce=[...], reduce_concat=...)` as DARTS prints it"
)
FIELDS = ("normal", "normal_concat", "reduce", "reduce_concat")  # in the order of the original's tuple
MAX_DEPTH, MAX_LENGTH = 10, 20_000  # nested brackets and characters in the output of DARTS

_CHOICES = r"(?:\d+-\d+ \w+(?:, \d+-\d+ \w+)*|-(?![\w-]))"
_LINE = re.compile(rf"(?<![\w.-])[\w.-]+ \w+: {_CHOICES}(?: \| \w+: {_CHOICES})*")
_NODE = r"\|(?:\w+~[0-9]+\|)+"
_BENCHMARK = re.compile(rf"{_NODE}(?:\+{_NODE})*")
_CALL = re.compile(r"\bGenotype\s*\(")


def is_genotype_text(text: str) -> bool:
    """Whether a text is a genotype itself and not the name of a file."""
    return text.lstrip().startswith("{") or "~0|" in text or "Genotype(" in text or (" " in text and ": " in text)


def parse_genotype(text: str, space: SearchSpace | None = None) -> Genotype:
    """Return the genotype of a text in any form, without executing anything; it is not validated against its space.

    Text around the genotype, such as the date of a log line or ``genotype =``, is ignored, and so are line breaks
    inside it. The same genotype may occur several times.

    Forms that name no space are of ``space``, if it has their kinds of cell, and otherwise of DARTS or NASBench201.

    Raises:
        ValueError: If the text holds no genotype, or several different ones.
    """
    text = text.removeprefix("\ufeff").strip()
    if text.startswith("{"):
        return _from_mapping(text, space)
    found = list(_calls(text, space) if _CALL.search(text) else _lines(" ".join(text.split()), space))
    distinct = list(dict.fromkeys(found))
    if len(distinct) > 1:
        raise ValueError(
            f"Expected one genotype, but got {len(distinct)} that differ, the first {distinct[0]} and the last "
            f"{distinct[-1]}; pass the intended one as text."
        )
    if distinct:
        return distinct[0]
    if text.startswith("|"):
        return Genotype.from_nasbench201(text, _name(space, {"cell"}, "NASBench201"))
    if "\n" not in text and ": " in text:
        return Genotype.from_text(text)
    raise ValueError(_refusal(text))


def _refusal(text: str) -> str:
    return f"Expected `genotype` to be {FORMS}, but got {_short(text)}."


def _from_mapping(text: str, space: SearchSpace | None) -> Genotype:
    """Read JSON of robustnas, or the fields of the original's tuple as JSON or as a Python dict."""
    try:
        data = json.loads(text)
    except (ValueError, RecursionError):
        if not re.match(r"\{\s*'(normal|reduce)", text):
            return Genotype.from_json(text)  # raises the error
        data = _evaluated(text)
    if isinstance(data, dict) and "normal" in data:
        return _from_fields(data, space)
    return Genotype.from_json(text)


def _lines(text: str, space: SearchSpace | None) -> Iterator[Genotype]:
    """Genotypes in one line and strings of NAS-Bench-201 in a text without line breaks."""
    for form, more in ((_LINE, ",|"), (_BENCHMARK, "|+~")):
        for found in form.finditer(text):
            rest = text[found.end() : found.end() + 2].strip()
            if rest and (rest[0] in more or (form is _BENCHMARK and rest[0].isalnum())):
                raise ValueError(_refusal(text[found.start() :]))  # the text continues in another form
            if form is _LINE:
                yield Genotype.from_text(found[0])
            else:
                yield Genotype.from_nasbench201(found[0], _name(space, {"cell"}, "NASBench201"))


def _calls(text: str, space: SearchSpace | None) -> Iterator[Genotype]:
    """Every ``Genotype(...)`` of a text."""
    end = 0
    while found := _CALL.search(text, end):
        end = _closing(text, found.end())
        yield _from_fields(_evaluated("Genotype(" + text[found.end() : end]), space)


def _closing(text: str, start: int) -> int:
    """The position after the bracket that closes the one before ``start``."""
    depth = 1
    for found in re.finditer(r"[()\[\]{}]", text[start : start + MAX_LENGTH]):
        depth += 1 if found[0] in "([{" else -1
        if depth == 0:
            return start + found.end()
        if depth > MAX_DEPTH:
            break
    raise ValueError(f"Expected `Genotype(` to have a closing `)`, but got {_short(text[start:])}.")


def _evaluated(text: str) -> Any:
    try:
        if len(text) > MAX_LENGTH:
            raise ValueError("it is too long")
        return _plain(ast.parse(text, mode="eval").body)
    except (SyntaxError, ValueError, TypeError, MemoryError, RecursionError) as error:
        reason = " ".join(str(error).split())
        raise ValueError(
            f"Expected `genotype` to be {FORMS}, but got {_short(text)}, which fails: {reason}."
        ) from error


def _plain(node: ast.AST) -> Any:
    """The value of an expression made of strings, integers, lists, dicts, ranges and ``Genotype(...)``."""
    match node:
        case ast.Constant(value=str() | int()):
            return node.value
        case ast.List(elts=parts) | ast.Tuple(elts=parts):
            return [_plain(part) for part in parts]
        case ast.Dict(keys=keys, values=values):
            return {_plain(key): _plain(value) for key, value in zip(keys, values, strict=True) if key is not None}
        case ast.Call(func=ast.Name(id="range"), args=parts, keywords=[]):
            ends = [_plain(part) for part in parts]
            if all(isinstance(end, int) and abs(end) < 1000 for end in ends):
                return list(range(*ends))
        case ast.Call(func=ast.Name(id="list" | "tuple"), args=[part], keywords=[]):
            return list(_plain(part))
        case ast.Call(func=ast.Name(id="Genotype"), args=parts, keywords=named) if len(parts) <= len(FIELDS):
            fields = zip(FIELDS, map(_plain, parts), strict=False)
            return {**dict(fields), **{str(each.arg): _plain(each.value) for each in named}}
    raise ValueError(f"it holds {ast.unparse(node)[:40]!r}")


def _from_fields(fields: Mapping[str, Any], space: SearchSpace | None) -> Genotype:
    """A genotype from the fields of the original's tuple: two pairs for each node, all nodes concatenated."""
    # a space may have no reduction cell
    alone = space is not None and set(space.cells) == {"normal"} and "reduce" not in fields
    kinds = ("normal",) if alone else ("normal", "reduce")
    if not set(kinds) <= set(fields) <= set(FIELDS):
        raise ValueError(f"Expected `Genotype` to have the fields {', '.join(FIELDS)}, but got {', '.join(fields)}.")
    for kind in kinds:
        pairs, joined = fields[kind], fields.get(f"{kind}_concat")
        if not isinstance(pairs, list) or not pairs or not all(map(_is_pair, pairs)):
            raise ValueError(f"Expected `{kind}` to be pairs like ('skip_connect', 0), but got {_short(str(pairs))}.")
        nodes = list(range(2, 2 + len(pairs) // 2))
        if len(pairs) % 2 or (joined is not None and joined != nodes):
            got = f"{len(pairs)} pairs" if len(pairs) % 2 else f"`{kind}_concat` of {joined}"
            raise ValueError(
                f"Expected the {kind} cell to have two pairs for each node and to join the nodes {nodes}, "
                f"but got {got}."
            )
    return Genotype.from_quark0(fields["normal"], fields.get("reduce"), _name(space, set(kinds), "DARTS"))


def _name(space: SearchSpace | None, kinds: set[str], default: str) -> str:
    return space.name if space is not None and set(space.cells) == kinds else default


def _is_pair(pair: Any) -> bool:
    return isinstance(pair, list) and len(pair) == 2 and isinstance(pair[0], str) and type(pair[1]) is int


def _short(text: str) -> str:
    return repr(text if len(text) <= 60 else f"{text[:57]}...")
