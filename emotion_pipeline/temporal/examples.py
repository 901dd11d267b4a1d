"""The features that a temporal model reads: of the clips that it learns from, and of any clip that it scores."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from jaxtyping import Int

from emotion_pipeline.data.manifest import Clip, labels_of
from emotion_pipeline.data.sequences import Sequences, datasets_of, labelled_rows, load_sequences, overlaps_of
from emotion_pipeline.errors import UserError
from emotion_pipeline.params import LstmParams, ScoresParams, TemporalParams


@dataclass(frozen=True)
class Examples:
    """Sequences float32 (t, d) of n labelled clips that have the modality, sorted by clip id, and their classes."""

    sequences: tuple[np.ndarray, ...]
    labels: Int[np.ndarray, " n"]
    mirrored: tuple[np.ndarray, ...] | None = None  # the same of the mirrored faces, where training uses them

    @property
    def width(self) -> int:
        """Values of a time step."""
        return self.sequences[0].shape[1]

    @property
    def lengths(self) -> Int[np.ndarray, " n"]:
        """Number of time steps of each sequence."""
        return np.array([len(sequence) for sequence in self.sequences])

    def __add__(self, other: "Examples") -> "Examples":
        mirrored = None if self.mirrored is None or other.mirrored is None else self.mirrored + other.mirrored
        return Examples(self.sequences + other.sequences, np.concatenate([self.labels, other.labels]), mirrored)


def read_examples(
    clips: Sequence[Clip], split: Literal["train", "val"], features: Path, params: TemporalParams
) -> Examples:
    """Return the labelled clips of a split that have the modality.

    Raises UserError where there is no such clip, the training clips are all of one class, or the features do not fit
    `params`.
    """
    read = read_sequences(labels_of(clips, (split,)), features, params)
    rows, classes = labelled_rows(clips, split, read.clip_ids, read.lengths > 0)
    mirrored = None
    if isinstance(params, LstmParams) and params.augment_flip:
        mirrored = _mirrored(read.clip_ids, features, params).arrays
    return Examples(
        tuple(read.arrays[i] for i in rows), classes, None if mirrored is None else tuple(mirrored[i] for i in rows)
    )


def read_sequences(clip_ids: Iterable[str], features: Path, params: TemporalParams) -> Sequences:
    """Return what the model reads of some clips. Raises UserError where the features do not fit `params`."""
    return load_sequences(features, clip_ids, _dataset(features, params), _longest(params))


def _dataset(features: Path, params: TemporalParams) -> str:
    name = "scores" if isinstance(params, ScoresParams) else "features"
    if params.overlap is None:
        return name
    there = overlaps_of(features)
    if params.overlap not in there:
        raise UserError(
            f"overlap: {params.overlap} is not among the overlaps {list(there)} in {features};"
            f" take one of those, or add it to {_section(params)}.overlaps"
        )
    return f"overlap_{params.overlap}/{name}"


def _mirrored(clip_ids: Iterable[str], features: Path, params: LstmParams) -> Sequences:
    flipped = _dataset(features, params).removesuffix("features") + "flipped/features"
    if flipped not in datasets_of(features):
        raise UserError(
            f"augment_flip: {features} has no features of mirrored faces; set {_section(params)}.flipped to true"
        )
    return load_sequences(features, clip_ids, flipped, params.max_length)


def _section(params: TemporalParams) -> str:
    return params.features.replace("/", ".")


def _longest(params: TemporalParams) -> int | None:
    """Return how many time steps a model reads: those of a clip's sound are one."""
    if isinstance(params, LstmParams):
        return params.max_length
    return None if isinstance(params, ScoresParams) else 1
