"""The features that a temporal model reads: of the clips that it learns from, and of any clip that it scores."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from jaxtyping import Float, Int

from emotion_pipeline.data.manifest import Clip, labels_of
from emotion_pipeline.data.sequences import datasets_of, labelled_rows, load_sequences, overlaps_of
from emotion_pipeline.errors import UserError
from emotion_pipeline.params import LstmParams, ScoresParams, TemporalParams


@dataclass(frozen=True)
class Examples:
    """Sequences float32 (t, d) of n labelled clips that have the modality, sorted by clip id, and their classes."""

    sequences: tuple[np.ndarray, ...]
    labels: Int[np.ndarray, " n"]
    mirrored: tuple[np.ndarray, ...] = ()  # the same of the mirrored faces, where training uses them

    @property
    def width(self) -> int:
        """Return the number of values of a time step."""
        return self.sequences[0].shape[1]

    def __add__(self, other: "Examples") -> "Examples":
        labels = np.concatenate([self.labels, other.labels])
        return Examples(self.sequences + other.sequences, labels, self.mirrored + other.mirrored)


def read_examples(
    clips: Sequence[Clip], split: Literal["train", "val"], features: Path, params: TemporalParams
) -> Examples:
    """Return the labelled clips of a split that have the modality.

    Raises UserError as `labelled_rows`, and where the features do not fit `params`.
    """
    read = read_sequences(labels_of(clips, (split,)), features, params)
    ids = list(read)
    rows, classes = labelled_rows(clips, split, ids, np.array([len(sequence) > 0 for sequence in read.values()]))
    mirrored: tuple[np.ndarray, ...] = ()
    if isinstance(params, LstmParams) and params.augment_flip:
        flipped = load_sequences(features, ids, _flipped(features, params), params.max_length)
        mirrored = tuple(flipped[ids[i]] for i in rows)
    return Examples(tuple(read[ids[i]] for i in rows), classes, mirrored)


def read_sequences(
    clip_ids: Iterable[str], features: Path, params: TemporalParams
) -> dict[str, Float[np.ndarray, "t d"]]:
    """Return what the model reads of some clips. Raises UserError where the features do not fit `params`."""
    longest = params.max_length if isinstance(params, LstmParams) else None if isinstance(params, ScoresParams) else 1
    return load_sequences(features, clip_ids, _dataset(features, params), longest)


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


def _flipped(features: Path, params: LstmParams) -> str:
    flipped = _dataset(features, params).removesuffix("features") + "flipped/features"
    if flipped not in datasets_of(features):
        raise UserError(
            f"augment_flip: {features} has no features of mirrored faces; set {_section(params)}.flipped to true"
        )
    return flipped


def _section(params: TemporalParams) -> str:
    return params.features.replace("/", ".")
