"""From a folder of features to the trained models and the scores of one entry of `train_temporal`.

A model's key holds the features of the labelled clips of train and val alone: an added clip without a label trains
nothing, and is scored.
"""

import logging
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from emotion_pipeline.data.manifest import Clip, seen_in_training
from emotion_pipeline.data.scores import REFIT, write_scores
from emotion_pipeline.data.tables import write_rows
from emotion_pipeline.errors import UserError
from emotion_pipeline.params import TemporalParams
from emotion_pipeline.run.fingerprint import code_fingerprint, digest, file_sha256
from emotion_pipeline.run.keys import input_sha256
from emotion_pipeline.run.store import made_once
from emotion_pipeline.temporal.examples import read_examples, read_sequences
from emotion_pipeline.temporal.fit import Chosen, fit
from emotion_pipeline.temporal.model import score_clips
from emotion_pipeline.training.device import device_of
from emotion_pipeline.training.loop import chosen_on_val
from emotion_pipeline.training.model import Run, read_trained, write_trained

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Job:
    """One entry of `train_temporal`: the model reads `features`, and is written to `models`, its scores to `out`."""

    name: str
    clips: Sequence[Clip]
    features: Path
    params: TemporalParams
    out: Path
    models: Path
    device: str = "auto"

    @cached_property
    def hashes(self) -> dict[str, str]:
        """Return the SHA-256 of the features, by name of file."""
        return {path.name: input_sha256(path) for path in sorted(self.features.iterdir())}


def train_temporal(job: Job, seeds: Sequence[int]) -> dict[Path, str]:
    """Train the model with every seed, score every clip, and return the keys of the files written.

    Writes `models`/seed_<seed>.safetensors, `out`/seed_<seed>/scores.h5 and history.csv, and the failures.csv of
    `features`. With `params.refit` the same below `train_val`, trained on train and val together with what was found
    on val before: the number of epochs, or C. Labels of train fit the model, labels of val stop it (or choose C); no
    other label is looked at. Raises UserError where the features do not fit.
    """
    keys: dict[Path, str] = {}
    try:
        for seed in seeds:
            keys |= _fit_and_score(job, seed, f"seed_{seed}", None)
            if job.params.refit:
                first = read_trained(job.models / f"seed_{seed}.safetensors")
                keys |= _fit_and_score(job, seed, f"{REFIT}/seed_{seed}", chosen_on_val(first.history))
    except UserError as error:
        raise UserError(f"train_temporal.{job.name}: {error}") from error
    if (job.features / "failures.csv").is_file():
        shutil.copyfile(job.features / "failures.csv", job.out / "failures.csv")
    log.info("train_temporal.%s: %d clips scored", job.name, len(job.clips))
    return keys


def _fit_and_score(job: Job, seed: int, place: str, chosen: Chosen) -> dict[Path, str]:
    """Fit, or take from the store, one model, and score all clips with it; `chosen`: as in `fit`."""
    file, scores = job.models / f"{place}.safetensors", job.out / place / "scores.h5"
    seen = [[(i, label, job.hashes.get(f"{i}.h5")) for i, label in rows] for rows in seen_in_training(job.clips)]
    settings = {"params": job.params.model_dump(mode="json"), "seed": seed, "chosen": chosen, "learnt_from": seen}
    fit_key = digest(settings | {"code": code_fingerprint(fit.__module__)})

    def fit_now(path: Path, checkpoint: Path) -> None:
        train, val = (read_examples(job.clips, split, job.features, job.params) for split in ("train", "val"))
        learnt, judge = (train, val) if chosen is None else (train + val, None)
        write_trained(path, fit(learnt, judge, job.params, Run(seed, device_of(job.device), checkpoint), chosen))

    made_once(fit_key, file, fit_now, job.out)
    model, ids = read_trained(file), sorted(clip.clip_id for clip in job.clips)
    scored = {"model": file_sha256(file), "features": job.hashes, "clips": ids}
    score_key = digest(scored | {"code": code_fingerprint(score_clips.__module__)})

    def score_now(path: Path, _: Path) -> None:
        sequences = read_sequences(ids, job.features, job.params)
        write_scores(path, score_clips(model, sequences, device_of(job.device)))

    made_once(score_key, scores, score_now, job.out)
    if model.history:
        write_rows(scores.parent / "history.csv", model.history)
    return {file: fit_key, scores: score_key}
