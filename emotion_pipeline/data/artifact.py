"""One HDF5 file per clip: written once and renamed into place, the same content always giving the same bytes."""

import math
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import h5py
import numpy as np

from emotion_pipeline.errors import ClipError

Value = str | int | float | bool

CHUNK_BYTES = 1 << 16
"""What a dataset that is written in pieces grows by."""


@dataclass(frozen=True)
class Artifact:
    """What a stage makes of one clip.

    `arrays` become datasets ("overlap_8/features" lands in a group), `attributes` those of the root. `absent` is empty,
    or "<reason>: <detail>" where the clip lacks the modality ("no_face: in none of 72 frames"); the arrays then have
    length 0. `pieces` are for what would fill the memory: each item holds the next rows of one or more datasets.
    """

    arrays: Mapping[str, np.ndarray]
    attributes: Mapping[str, Value] = field(default_factory=dict)
    absent: str = ""
    pieces: Iterable[Mapping[str, np.ndarray]] = ()


def write_artifact(path: Path, clip_id: str, artifact: Artifact) -> None:
    """Write to a temporary name beside `path`, flush to the disk, rename. No time stamps, keys sorted."""
    with atomic(path) as temporary, h5py.File(temporary, "w") as file:
        file.attrs["clip_id"] = clip_id
        for name in sorted(artifact.attributes):
            file.attrs[name] = artifact.attributes[name]
        if artifact.absent:
            file.attrs["absent"] = artifact.absent
        for name in sorted(artifact.arrays):
            file.create_dataset(name, data=artifact.arrays[name])
        for piece in artifact.pieces:
            for name in sorted(piece):
                _append(file, name, piece[name])


def _append(file: h5py.File, name: str, rows: np.ndarray) -> None:
    if name not in file:
        one = rows.dtype.itemsize * max(math.prod(rows.shape[1:]), 1)
        chunk = (max(CHUNK_BYTES // one, 1), *rows.shape[1:])
        file.create_dataset(name, (0, *rows.shape[1:]), rows.dtype, maxshape=(None, *rows.shape[1:]), chunks=chunk)
    before = len(file[name])
    file[name].resize(before + len(rows), axis=0)
    file[name][before:] = rows


@contextmanager
def atomic(path: Path) -> Iterator[Path]:
    """`with atomic(path) as temporary:` write `temporary`; it is flushed and becomes `path`, or nothing does."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.urandom(6).hex()}.tmp")  # containers share a store, and process ids
    try:
        yield temporary
        descriptor = os.open(temporary, os.O_RDONLY)
        os.fsync(descriptor)
        os.close(descriptor)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def inside(group: h5py.Group, name: str) -> h5py.Group | h5py.Dataset:
    """Return what lies at `name` below a group; unlike `group[name]`, never in another file.

    Raises LookupError where there is nothing, or a link, or a dataset whose bytes lie elsewhere.
    """
    item = group
    for part in name.split("/"):
        link = item.get(part, getlink=True)
        if link is None:
            raise LookupError(f"{item.name} has no `{part}`, part of `{name}`")
        if not isinstance(link, h5py.HardLink):
            raise LookupError(f"`{name}` is a link ({type(link).__name__}), which is not followed")
        item = item[part]
    if isinstance(item, h5py.Dataset) and (item.is_virtual or item.external):
        raise LookupError(f"the numbers of `{item.name}` lie in another file, which is not read")
    return item


def read_array(path: Path, name: str) -> np.ndarray:
    """Return one dataset of an artifact. Raises ClipError (`unreadable`) naming the file where it cannot be had."""
    try:
        with h5py.File(path, "r") as file:
            return np.asarray(inside(file, name)[()])
    except (OSError, LookupError) as error:
        raise ClipError("unreadable", f"{path}: cannot read `{name}` ({error})") from error


def read_attributes(path: Path) -> dict[str, Value]:
    """Return the root attributes of an artifact. Raises ClipError (`unreadable`) naming the file."""
    try:
        with h5py.File(path, "r") as file:
            return {k: v.item() if isinstance(v, np.generic) else v for k, v in file.attrs.items()}
    except OSError as error:
        raise ClipError("unreadable", f"{path}: not an HDF5 file ({error})") from error
