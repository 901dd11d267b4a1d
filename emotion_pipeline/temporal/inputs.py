"""What a temporal model is trained on: the features of all clips, the labels that training may see."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from emotion_pipeline.data.manifest import Clip
from emotion_pipeline.data.sequences import (
    Labelled,
    Sequences,
    Standardisation,
    both,
    has_dataset,
    labelled_rows,
    load_sequences,
    overlaps_of,
    standardisation_of,
)
from emotion_pipeline.errors import UserError
from emotion_pipeline.params import LstmParams, ScoresParams, TemporalParams


@dataclass(frozen=True)
class Data:
    """What training may see: the sequences of all clips, but labels (class index) of train and val only."""

    sequences: Sequences
    train: Labelled
    val: Labelled | None  # None: its clips are among those of train
    scaling: Standardisation | None  # measured on train
    mirrored: tuple[np.ndarray, ...] | None  # the same sequences of the mirrored faces, where training uses them


def read_data(clips: Sequence[Clip], features: Path, params: TemporalParams, with_val: bool) -> Data:
    """Read the features of all clips and measure their mean and scale on the training clips.

    `with_val`: the clips of val are training clips, too. Raises UserError where the features do not fit `params`.
    """
    dataset = "scores" if isinstance(params, ScoresParams) else "features"
    if params.overlap is not None:
        there = overlaps_of(features)
        if params.overlap not in there:
            raise UserError(
                f"overlap: {params.overlap} is not among the overlaps {list(there)} in {features};"
                f" take one of those, or add it to extract_c3d.{features.name.removeprefix('extract_c3d_')}.overlaps"
            )
        dataset = f"overlap_{params.overlap}/{dataset}"
    sequences = load_sequences(features, [c.clip_id for c in clips], dataset, _longest(params))
    present = sequences.lengths > 0
    train = labelled_rows(clips, "train", sequences.clip_ids, present)
    val = labelled_rows(clips, "val", sequences.clip_ids, present)
    if with_val:
        train = both(train, val)
    wanted = params.standardise if isinstance(params, LstmParams) else not isinstance(params, ScoresParams)
    arrays = [sequences.arrays[i] for i in train[0]]
    scaling = standardisation_of(arrays, sequences.width) if wanted else None
    mirrored = _mirrored(features, sequences, dataset, params) if isinstance(params, LstmParams) else None
    return Data(sequences, train, None if with_val else val, scaling, mirrored)


def _mirrored(features: Path, sequences: Sequences, dataset: str, params: LstmParams) -> tuple[np.ndarray, ...] | None:
    if not params.augment.flip:
        return None
    flipped = dataset.removesuffix("features") + "flipped/features"
    if not has_dataset(features, flipped):
        section = features.name.replace("extract_c3d_", "extract_c3d.")
        raise UserError(f"augment.flip: {features} has no features of mirrored faces; set {section}.flipped to true")
    return load_sequences(features, sequences.clip_ids, flipped, params.max_length).arrays


def _longest(params: TemporalParams) -> int | None:
    """Time steps that a model reads: those of a clip's sound are one."""
    if isinstance(params, LstmParams):
        return params.max_length
    return None if isinstance(params, ScoresParams) else 1
