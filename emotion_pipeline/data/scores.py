"""What a temporal model or a fusion says about every clip: one HDF5 file `scores.h5`."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np
from jaxtyping import Bool, Float

from emotion_pipeline.data.artifact import atomic, inside
from emotion_pipeline.errors import UserError


@dataclass(frozen=True)
class ScoreTable:
    """Softmax scores of n clips, sorted by clip id; columns in the order of `EMOTIONS`.

    Rows of `scores` and `descriptor` are NaN where `present` is false: the clip lacks the modality.
    `descriptor` is None for a model that has none (a fusion, the support vector machine).
    """

    clip_ids: tuple[str, ...]
    scores: Float[np.ndarray, "n k"]
    present: Bool[np.ndarray, " n"]
    descriptor: Float[np.ndarray, "n d"] | None = None


REFIT = "train_val"
"""Folder in a temporal model's folder for the models that were trained on train and val together."""


def seed_folder(model: Path, seed: int) -> Path:
    """Return where a model or fusion that was trained with this seed is, below its folder."""
    return model / f"seed_{seed}"


def write_scores(path: Path, table: ScoreTable) -> None:
    """Write `clip_id`, `present`, `scores` and, where there is one, `descriptor` (float32)."""
    with atomic(path) as temporary, h5py.File(temporary, "w") as file:
        file.create_dataset("clip_id", data=np.array([i.encode() for i in table.clip_ids], dtype=bytes))
        if table.descriptor is not None:
            file.create_dataset("descriptor", data=_spoiled(table.descriptor, table.present))
        file.create_dataset("present", data=table.present)
        file.create_dataset("scores", data=_spoiled(table.scores, table.present))


def read_scores(path: Path) -> ScoreTable:
    """Read a file made by `write_scores`. Raises UserError where it is none."""
    try:
        with h5py.File(path, "r") as file:
            return ScoreTable(
                clip_ids=tuple(i.decode() for i in inside(file, "clip_id")[()]),
                scores=inside(file, "scores")[()],
                present=inside(file, "present")[()],
                descriptor=inside(file, "descriptor")[()] if "descriptor" in file else None,
            )
    except FileNotFoundError:
        raise
    except (OSError, LookupError, RuntimeError) as error:
        raise UserError(f"{path}: not a file of scores ({error}); `dvc repro` makes it again") from error


def rows_of(table: ScoreTable, clip_ids: Sequence[str]) -> np.ndarray:
    """Return row numbers of some clips. Raises KeyError naming the first clip that the table lacks."""
    row = {clip_id: i for i, clip_id in enumerate(table.clip_ids)}
    return np.array([row[clip_id] for clip_id in clip_ids], dtype=np.intp)


def _spoiled(values: Float[np.ndarray, "n d"], present: Bool[np.ndarray, " n"]) -> Float[np.ndarray, "n d"]:
    return np.where(present[:, None], values, np.nan).astype(np.float32)
