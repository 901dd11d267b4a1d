"""Read the features that the stages wrote, from your own programs: as NumPy, pandas or torch.

`folder` is that of a stage (`data/extract_vgg`), `dataset` names what is read from its files: `features`, `scores`,
`overlap_8/features` ... A clip that lacks the modality has length 0.
"""

from pathlib import Path

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float
from torch import Tensor
from torch.utils.data import Dataset

from emotion_pipeline.data.manifest import SPLITS, labels_of, read_failures, read_manifest
from emotion_pipeline.data.sequences import load_sequences
from emotion_pipeline.errors import UserError


def clip_array(folder: Path | str, clip_id: str, dataset: str = "features") -> Float[np.ndarray, "t d"]:
    """Return one clip, float32 (t, d): t frames or windows, 1 for sound. Raises UserError where the clip is missing."""
    return load_sequences(Path(folder), [clip_id], dataset)[clip_id]


def feature_frame(folder: Path | str, manifest: Path | str, dataset: str = "features") -> pd.DataFrame:
    """Return all clips of the manifest (`data/ingest/clips.csv`): a row per time step, a column per value, from 0.

    The index has the levels clip_id, split, label, step. A clip of length 0 has no row.
    """
    clips = {clip.clip_id: clip for clip in read_manifest(Path(manifest))}
    sequences = load_sequences(Path(folder), clips, dataset)
    frames = {
        (clip_id, clips[clip_id].split, clips[clip_id].label): pd.DataFrame(sequence)
        for clip_id, sequence in sequences.items()
    }
    return pd.concat(frames, names=["clip_id", "split", "label", "step"])


class FeatureDataset(Dataset[tuple[Tensor, int]]):
    """The labelled clips of a split: item i is float32 (t, d) and the class of clip `clip_ids[i]`, read when asked for.

    Classes are positions in `emotions.EMOTIONS`. Sequences differ in length, perhaps 0: batches need a `collate_fn`, as
    `data.sequences.padded`. `failed` names the labelled clips in failures.csv. Raises UserError where none is labelled.
    """

    def __init__(self, folder: Path | str, manifest: Path | str, split: str, dataset: str = "features"):
        if split not in SPLITS:
            raise UserError(f"split: expected one of {', '.join(SPLITS)}, got {split!r}")
        labels = labels_of(read_manifest(Path(manifest)), (split,))
        if not labels:
            raise UserError(f"{manifest}: no labelled clip in split {split}")
        self.folder, self.dataset = Path(folder), dataset
        failed = read_failures(self.folder)
        self.failed = tuple(clip_id for clip_id in labels if clip_id in failed)
        self.clip_ids = tuple(clip_id for clip_id in labels if clip_id not in failed)
        self.labels = tuple(labels[clip_id] for clip_id in self.clip_ids)

    def __len__(self) -> int:
        return len(self.clip_ids)

    def __getitem__(self, i: int) -> tuple[Tensor, int]:
        return torch.from_numpy(clip_array(self.folder, self.clip_ids[i], self.dataset)), self.labels[i]
