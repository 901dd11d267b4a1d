"""From a folder of features to the trained models and the scores of one entry of `train_temporal`.

Fitting and scoring are kept apart: a model's key holds the features of the labelled clips of train and val alone, so
a clip that is added without a label trains nothing, and is scored.
"""

import logging
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from emotion_pipeline.data.manifest import Clip, labels_of
from emotion_pipeline.data.scores import REFIT, write_scores
from emotion_pipeline.data.tables import write_rows
from emotion_pipeline.errors import UserError
from emotion_pipeline.params import TemporalParams
from emotion_pipeline.run.fingerprint import code_fingerprint, digest, file_sha256
from emotion_pipeline.run.keys import input_hashes
from emotion_pipeline.run.store import made_once
from emotion_pipeline.temporal.examples import read_examples, read_sequences
from emotion_pipeline.temporal.fit import fit
from emotion_pipeline.temporal.model import score_clips
from emotion_pipeline.training.device import device_of
from emotion_pipeline.training.loop import chosen_on_val
from emotion_pipeline.training.model import Run, read_trained, write_trained

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Job:
    """One temporal model: read from `features`, written to `models` and, its scores and history, to `out`."""

    name: str
    params: TemporalParams
    clips: Sequence[Clip]
    features: Path
    out: Path
    models: Path
    device: str

    @cached_property
    def hashes(self) -> dict[str, str]:
        """SHA-256 of every file of `features`, by name."""
        return input_hashes(sorted(self.features.iterdir()))

    def learnt_from(self) -> list[list[Any]]:
        """Return what training may see: id, class and features of every labelled clip of train, and of val."""
        labelled = (sorted(labels_of(self.clips, (split,)).items()) for split in ("train", "val"))
        return [[(i, label, self.hashes.get(f"{i}.h5")) for i, label in rows] for rows in labelled]


def train_temporal(
    name: str,
    clips: Sequence[Clip],
    features: Path,
    params: TemporalParams,
    seeds: Sequence[int],
    out: Path,
    models: Path,
    device: str = "auto",
) -> dict[Path, str]:
    """Train the model with every seed, score every clip, and return the keys of the files written.

    Writes `models`/seed_<seed>.safetensors, `out`/seed_<seed>/scores.h5 and history.csv, and the failures.csv of
    `features`. With `params.refit` the same below `train_val`, trained on train and val together with what was found
    on val before: the number of epochs, or C. Labels of train fit the model, labels of val stop it (or choose C); no
    other label is looked at. Raises UserError where the features do not fit.
    """
    job = Job(name, params, clips, features, out, models, device)
    keys: dict[Path, str] = {}
    try:
        for seed in seeds:
            keys |= _fit_and_score(job, seed, f"seed_{seed}", None)
            if params.refit:
                first = read_trained(models / f"seed_{seed}.safetensors")
                keys |= _fit_and_score(job, seed, f"{REFIT}/seed_{seed}", chosen_on_val(first.history))
    except UserError as error:
        raise UserError(f"train_temporal.{name}: {error}") from error
    if (features / "failures.csv").is_file():
        shutil.copyfile(features / "failures.csv", out / "failures.csv")
    log.info("train_temporal.%s: %d clips scored", name, len(clips))
    return keys


def _fit_and_score(job: Job, seed: int, place: str, chosen: int | float | None) -> dict[Path, str]:
    """Fit, or take from the store, one model, and score all clips with it; `chosen`: as in `fit`."""
    file, folder = job.models / f"{place}.safetensors", job.out / place
    params = {"params": job.params.model_dump(mode="json"), "seed": seed, "chosen": chosen}
    fit_key = digest(params | {"learnt_from": job.learnt_from(), "code": code_fingerprint(fit.__module__)})
    made_once(fit_key, file, lambda path, checkpoint: _fit(job, seed, path, checkpoint, chosen), job.out)
    scored = {"model": file_sha256(file), "features": job.hashes, "clips": sorted(clip.clip_id for clip in job.clips)}
    score_key = digest(scored | {"code": code_fingerprint(score_clips.__module__)})
    made_once(score_key, folder / "scores.h5", lambda path, _: _score(job, file, path), job.out)
    if history := read_trained(file).history:
        write_rows(folder / "history.csv", history)
    return {file: fit_key, folder / "scores.h5": score_key}


def _fit(job: Job, seed: int, path: Path, checkpoint: Path, chosen: int | float | None) -> None:
    train, val = (read_examples(job.clips, split, job.features, job.params) for split in ("train", "val"))
    how = Run(seed, device_of(job.device), checkpoint)
    learnt, judge = (train, val) if chosen is None else (train + val, None)
    write_trained(path, fit(learnt, judge, job.params, how, chosen))


def _score(job: Job, file: Path, path: Path) -> None:
    sequences = read_sequences((clip.clip_id for clip in job.clips), job.features, job.params)
    write_scores(path, score_clips(read_trained(file), sequences, device_of(job.device)))
