"""Features of a folder of per-clip files, joined with clips by clip id -> padded batches with lengths."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import h5py
import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from numpy.random import Generator
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from emotion_pipeline.data.artifact import read_array
from emotion_pipeline.data.manifest import Clip, labels_of, read_failures
from emotion_pipeline.errors import UserError

JITTER = 0.05
"""Lengths are multiplied by up to 1 + this before they are sorted, so that batches differ between epochs."""


@dataclass(frozen=True)
class Standardisation:
    """Per feature, what is subtracted and what then divides."""

    mean: Float[np.ndarray, " d"]
    scale: Float[np.ndarray, " d"]


def load_sequences(
    folder: Path, clip_ids: Iterable[str], dataset: str = "features", max_length: int | None = None
) -> dict[str, Float[np.ndarray, "t d"]]:
    """Return the float32 features of each clip, sorted by clip id; longer ones cut to their central part.

    They are read from `<folder>/<clip_id>.h5`. A clip that lacks the modality, or stands in the folder's failures.csv,
    has t = 0. Raises UserError for any other missing file, and for features
    that are not finite or of another width than those of the first clip.
    """
    failed, ids = read_failures(folder), sorted(clip_ids)
    found = {i: _features(folder, i, dataset, max_length) for i in ids if i not in failed}
    if not found:
        raise UserError(f"{folder}: none of the {len(ids)} clips has features; see {folder}/failures.csv")
    first, width = next((clip_id, array.shape[1]) for clip_id, array in found.items())
    for clip_id, array in found.items():
        if array.shape[1] != width:
            raise UserError(
                f"{folder}/{clip_id}.h5: {array.shape[1]} values a step, but {first} has {width};"
                f" run `dvc repro {folder.name}`"
            )
    nothing = np.zeros((0, width), np.float32)
    return {clip_id: found.get(clip_id, nothing) for clip_id in ids}


def datasets_of(folder: Path) -> list[str]:
    """Return the names of the datasets in the first file of the folder, sorted; none where there is no file."""
    names: list[str] = []
    for path in sorted(folder.glob("*.h5"))[:1]:
        with h5py.File(path, "r") as file:
            file.visit(names.append)
    return names


def overlaps_of(folder: Path) -> tuple[int, ...]:
    """Return the window overlaps for which the first file of the folder has features."""
    found = (re.fullmatch(r"overlap_(\d+)", name) for name in datasets_of(folder))
    return tuple(sorted(int(name[1]) for name in found if name))


def _features(folder: Path, clip_id: str, dataset: str, max_length: int | None) -> Float[np.ndarray, "t d"]:
    path = folder / f"{clip_id}.h5"
    if not path.exists():
        raise UserError(
            f"{path}: no such file, and {clip_id} is not in {folder}/failures.csv; run `dvc repro {folder.name}`"
        )
    array = read_array(path, dataset).astype(np.float32)
    if not np.isfinite(array).all():
        raise UserError(f"{path}: `{dataset}` of clip {clip_id} has values that are not finite numbers")
    if max_length is not None and len(array) > max_length:
        start = (len(array) - max_length) // 2
        array = array[start : start + max_length].copy()
    return array


def standardisation_of(arrays: Iterable[np.ndarray], width: int) -> Standardisation:
    """Return mean and standard deviation over all rows of all arrays; a feature that does not vary has scale 1."""
    arrays = list(arrays)
    rows = max(sum(map(len, arrays)), 1)
    mean = sum((array.sum(axis=0, dtype=np.float64) for array in arrays), np.zeros(width)) / rows
    scale = np.sqrt(sum((((array - mean) ** 2).sum(axis=0) for array in arrays), np.zeros(width)) / rows)
    scale[scale <= 1e-6 * np.abs(mean)] = 1
    return Standardisation(mean.astype(np.float32), scale.astype(np.float32))


def standardise(values: Float[np.ndarray, "t d"], by: Standardisation | None) -> Float[np.ndarray, "t d"]:
    """Return values of zero mean and unit variance where `by` was measured (None: as they are); NaN stays NaN."""
    return values if by is None else (values - by.mean) / by.scale


def bucketed(lengths: Int[np.ndarray, " n"], batch: int, rng: Generator | None = None) -> list[Int[np.ndarray, " _"]]:
    """Cut clips into batches of nearly equal lengths: row numbers, at most `batch` (2 or more) in each.

    The sizes differ by at most one, and no batch has a single clip where there are two (batch normalisation).
    With a generator, clips of similar length change places and the batches come in random order.
    """
    if not len(lengths):
        return []
    jitter = 1 + JITTER * rng.random(len(lengths)) if rng else np.ones(len(lengths))
    order = np.argsort(lengths * jitter, kind="stable")
    batches = np.array_split(order, max(1, min(-(-len(order) // batch), len(order) // 2)))
    return [batches[i] for i in rng.permutation(len(batches))] if rng else batches


def padded(arrays: Sequence[np.ndarray]) -> tuple[Float[Tensor, "b t d"], Int[Tensor, " b"]]:
    """Stack sequences, each followed by zeros up to the longest; and their lengths."""
    features = pad_sequence([torch.from_numpy(array) for array in arrays], batch_first=True)
    return features, torch.tensor([len(array) for array in arrays])


Labelled = tuple[Int[np.ndarray, " _"], Int[np.ndarray, " _"]]
"""Rows of clips, and the class of each."""


def both(first: Labelled, second: Labelled) -> Labelled:
    """Return the clips of both."""
    return np.concatenate([first[0], second[0]]), np.concatenate([first[1], second[1]])


def labelled_rows(
    clips: Iterable[Clip], split: Literal["train", "val"], clip_ids: Sequence[str], present: Bool[np.ndarray, " n"]
) -> Labelled:
    """Return rows of `clip_ids` whose clip is of that split and has a label and the modality, and their classes.

    Raises UserError where there is no such clip, or the training clips are all of one class.
    """
    labels = labels_of(clips, (split,))
    rows = [i for i, clip_id in enumerate(clip_ids) if clip_id in labels and present[i]]
    found = np.array([labels[clip_ids[i]] for i in rows], dtype=np.int64)
    classes, least = len(np.unique(found)), 2 if split == "train" else 1
    if classes < least:
        raise UserError(
            f"of the {len(labels)} labelled clips of split {split}, {len(rows)} have the modality, of {classes}"
            f" classes; at least {least} needed"
        )
    return np.array(rows, dtype=np.int64), found
