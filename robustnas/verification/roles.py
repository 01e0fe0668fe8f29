"""Check that the four data roles are disjoint, and that each training stream draws from its own roles only."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from itertools import combinations

from torch import Tensor

from robustnas.data import ImageData
from robustnas.verification.finding import Figure, Finding
from robustnas.verification.subject import Subject


def check_roles(subject: Subject) -> Finding:
    """Indices of roles and of training streams are disjoint. Copies of an image in several roles give a warning."""
    data = subject.data
    split = data.split
    sizes = {role: len(indices) for role, indices in split.indices.items()}
    pairs = [(a, b) for a, b in combinations(split.indices, 2) if split.part(a) is split.part(b)]
    shared, twice, outside = sum(_common(split.indices[a], split.indices[b]) for a, b in pairs), 0, 0
    for role, indices in split.indices.items():
        twice += len(indices) - len(indices.unique())
        outside += int(((indices < 0) | (indices >= len(split.part(role)))).sum())
    streams = {
        name: data.loader(*roles, training=True, stream=name).indices
        for name, roles in subject.search.training_streams.items()
    }
    mixed = sum(_common(*pair) for pair in combinations(streams.values(), 2))
    for name, indices in streams.items():
        others = [role for role in split.indices if role not in subject.search.training_streams[name]]
        mixed += sum(_common(indices, split.indices[r]) for r in others if split.part(r) is split.train)
    figures = {
        "samples in two roles": Figure(shared),
        "samples repeated in a role": Figure(twice),
        "samples that do not exist": Figure(outside),
        "samples of a stream in another stream or role": Figure(mixed),
    }
    compared = ", ".join(f"{size:,} {role}" for role, size in sizes.items())
    return Finding(f"all samples: {compared}", figures, _duplicates(data))


def _common(one: Tensor, other: Tensor) -> int:
    return len(set(one.tolist()) & set(other.tolist()))


def _duplicates(data: ImageData) -> str:
    """A warning of equal images in different roles, which come from the data set itself."""
    split, seen = data.split, defaultdict(set)
    places: dict[bytes, set[tuple[bool, int]]] = defaultdict(set)
    for role, indices in split.indices.items():
        pixels, own = split.part(role).pixels, split.part(role) is split.train
        for index in indices.tolist():
            digest = hashlib.blake2b(pixels[index].contiguous().numpy().data, digest_size=16).digest()
            seen[digest].add(role)
            places[digest].add((own, index))
    several = [roles for digest, roles in seen.items() if len(roles) > 1 and len(places[digest]) > 1]
    if not several:
        return ""
    tested = sum("test" in roles for roles in several)
    return (
        f"Warning: the data set holds copies of {len(several)} images in different roles, {tested} of them in the "
        "test role too."
    )
