"""One HDF5 file per clip: written once and renamed into place, the same content always giving the same bytes."""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import h5py
import numpy as np

from emotion_pipeline.clips import ClipError

Value = str | int | float | bool


@dataclass(frozen=True)
class Artifact:
    """What a stage makes of one clip.

    `arrays` are stored as datasets ("overlap_8/features" lands in a group), `attributes` at the root: what a
    reader needs to understand them. `absent` is empty, or "<reason>: <detail>" where the modality is absent from
    the clip ("no_face: in none of 72 frames"); the arrays then have length 0.
    """

    arrays: Mapping[str, np.ndarray]
    attributes: Mapping[str, Value] = field(default_factory=dict)
    absent: str = ""


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


@contextmanager
def atomic(path: Path) -> Iterator[Path]:
    """`with atomic(path) as temporary:` write `temporary`; it is flushed and becomes `path`, or nothing does."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        yield temporary
        descriptor = os.open(temporary, os.O_RDONLY)
        os.fsync(descriptor)
        os.close(descriptor)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def read_array(path: Path, name: str) -> np.ndarray:
    """One dataset of an artifact. Raises ClipError (`unreadable`) naming the file where it cannot be had."""
    try:
        with h5py.File(path, "r") as file:
            return np.asarray(file[name][()])
    except (OSError, KeyError) as error:
        raise ClipError("unreadable", f"{path}: cannot read `{name}` ({error})") from error


def read_attributes(path: Path) -> dict[str, Value]:
    """The root attributes of an artifact. Raises ClipError (`unreadable`) naming the file."""
    try:
        with h5py.File(path, "r") as file:
            return {k: v.item() if isinstance(v, np.generic) else v for k, v in file.attrs.items()}
    except OSError as error:
        raise ClipError("unreadable", f"{path}: not an HDF5 file ({error})") from error
