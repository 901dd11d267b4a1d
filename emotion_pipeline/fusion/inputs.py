"""What is fused: scores and descriptors of several temporal models for the same clips."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float, Int

from emotion_pipeline.data.scores import read_scores
from emotion_pipeline.errors import UserError


@dataclass(frozen=True)
class Inputs:
    """What the temporal models say of the same n clips, sorted by clip id; NaN where a model is absent."""

    clip_ids: tuple[str, ...]
    names: tuple[str, ...]
    scores: Float[np.ndarray, "n m k"]
    present: Bool[np.ndarray, "n m"]
    descriptors: Mapping[str, Float[np.ndarray, "n _"]]  # of the models that have one

    def take(self, rows: Int[np.ndarray, " r"]) -> "Inputs":
        """Return the inputs of some of the clips."""
        ids = tuple(self.clip_ids[i] for i in rows)
        descriptors = {name: values[rows] for name, values in self.descriptors.items()}
        return Inputs(ids, self.names, self.scores[rows], self.present[rows], descriptors)

    def sha256(self) -> str:
        """Return a hash over all ids and numbers."""
        arrays = [self.scores, self.present, *(self.descriptors[name] for name in sorted(self.descriptors))]
        names = repr((self.clip_ids, self.names)).encode()
        return hashlib.sha256(names + b"".join(array.tobytes() for array in arrays)).hexdigest()

    @property
    def any_model(self) -> Bool[np.ndarray, " n"]:
        """Return of which clips some model says something."""
        return np.asarray(self.present.any(axis=1))


def read_inputs(models: Mapping[str, Path], clip_ids: Sequence[str]) -> Inputs:
    """Return `scores.h5` of each folder. Raises UserError where one is missing or is not about exactly these clips."""
    ids, tables = tuple(sorted(clip_ids)), {}
    for model, folder in models.items():
        path = folder / "scores.h5"
        if not path.exists():
            raise UserError(f"{path}: no such file; run `dvc repro train_temporal@{model}`")
        tables[model] = read_scores(path)
        if tables[model].clip_ids != ids:
            raise UserError(f"{path}: not the clips of the manifest; run `dvc repro train_temporal@{model}`")
    scores, present = (np.stack([getattr(t, what) for t in tables.values()], axis=1) for what in ("scores", "present"))
    described = {m: table.descriptor for m, table in tables.items() if table.descriptor is not None}
    return Inputs(ids, tuple(models), scores, present, described)
