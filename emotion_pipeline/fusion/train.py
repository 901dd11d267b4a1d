"""From the scores and descriptors of temporal models to one entry of `fusion`: the fitted fusion and its scores."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from emotion_pipeline.data.manifest import Clip, seen_in_training
from emotion_pipeline.data.scores import REFIT, ScoreTable, read_scores, seed_folder, write_scores
from emotion_pipeline.data.sequences import labelled_rows
from emotion_pipeline.data.tables import write_rows
from emotion_pipeline.errors import UserError
from emotion_pipeline.fusion.fit import Learnt, fit
from emotion_pipeline.fusion.model import Inputs, fused_scores
from emotion_pipeline.params import FusionParams
from emotion_pipeline.run.fingerprint import code_fingerprint, digest, file_sha256
from emotion_pipeline.run.keys import input_sha256
from emotion_pipeline.run.store import made_once
from emotion_pipeline.training.device import device_of
from emotion_pipeline.training.model import Model, Run, read_trained, write_trained

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Job:
    """One fusion with one seed: its trained model goes to `models`, its scores to `out`."""

    params: FusionParams
    clips: Sequence[Clip]
    seed: int
    out: Path
    models: Path
    device: str


def fuse(
    name: str,
    clips: Sequence[Clip],
    temporal: Path,
    params: FusionParams,
    seeds: Sequence[int],
    out: Path,
    models: Path,
    device: str = "auto",
) -> dict[Path, str]:
    """Fuse what the temporal models of each seed say of every clip, and return the keys of the files written.

    Writes `models`/seed_<seed>.safetensors and `out`/seed_<seed>/scores.h5, beside it history.csv or weights.csv. A
    clip is present where any of the models is. Labels of train and val are seen, no other. With `trained_on: train_val`
    the same is first done below `train`, of the models that were trained on train alone, and what that finds on val is
    used for the models that were trained on both.
    """
    keys: dict[Path, str] = {}
    try:
        for seed in seeds:
            job, before, place = Job(params, clips, seed, out, models, device), None, f"seed_{seed}"
            folders = {model: temporal / model for model in params.models}
            if params.trained_on == "train_val":
                keys |= _fit_and_score(job, f"train/{place}", folders, None)
                before = models / f"train/{place}.safetensors"
                folders = {model: folder / REFIT for model, folder in folders.items()}
            keys |= _fit_and_score(job, place, folders, before)
    except UserError as error:
        raise UserError(f"fusion.{name}: {error}") from error
    log.info("fuse.%s: %d clips scored", name, len(clips))
    return keys


def _fit_and_score(job: Job, place: str, folders: Mapping[str, Path], before: Path | None) -> dict[Path, str]:
    """Fit, or take from the store, one fusion of the models in `folders`, and score all clips with it."""
    file, scores = job.models / f"{place}.safetensors", job.out / place / "scores.h5"
    read = {model: seed_folder(folder, job.seed) for model, folder in folders.items()}
    inputs = read_inputs(read, [clip.clip_id for clip in job.clips])
    learnt = _learnt(job.clips, inputs)
    settings = {"params": job.params.model_dump(mode="json"), "seed": job.seed}
    settings |= {"learnt": learnt.inputs.sha256(), "labels": seen_in_training(job.clips)}
    settings |= {"before": file_sha256(before) if before else None, "code": code_fingerprint(fit.__module__)}
    fit_key = digest(settings)

    def fit_now(path: Path, checkpoint: Path) -> None:
        found = read_trained(before) if before else None
        write_trained(path, fit(learnt, job.params, Run(job.seed, device_of(job.device), checkpoint), found))

    def score_now(path: Path, _: Path) -> None:
        fused = fused_scores(read_trained(file), inputs, device_of(job.device))
        write_scores(path, ScoreTable(inputs.clip_ids, fused, inputs.any_model))

    made_once(fit_key, file, fit_now, job.out)
    scored = {"model": file_sha256(file), "inputs": {m: input_sha256(f / "scores.h5") for m, f in read.items()}}
    score_key = digest(scored | {"code": code_fingerprint(fused_scores.__module__)})
    made_once(score_key, scores, score_now, job.out)
    _write_found(read_trained(file), scores.parent)
    return {file: fit_key, scores: score_key}


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


def _learnt(clips: Sequence[Clip], inputs: Inputs) -> Learnt:
    train, val = (labelled_rows(clips, split, inputs.clip_ids, inputs.any_model) for split in ("train", "val"))
    own, first = np.concatenate([train[0], val[0]]), len(train[0])
    return Learnt(inputs.take(own), (np.arange(first), train[1]), (np.arange(first, len(own)), val[1]))


def _write_found(model: Model, folder: Path) -> None:
    """Write what was found, for people: the history of the training, or the weights."""
    if model.history:
        write_rows(folder / "history.csv", model.history)
    if "weights" in model.tensors:
        weights = zip(model.params.models, model.tensors["weights"].tolist(), strict=True)
        write_rows(folder / "weights.csv", [("model", "weight"), *weights])
