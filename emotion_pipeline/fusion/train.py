"""Fit one fusion where it has something to fit, and score every clip."""

import logging
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from jaxtyping import Float

from emotion_pipeline.data.manifest import Clip
from emotion_pipeline.data.models import read_model, write_model
from emotion_pipeline.data.scores import ScoreTable, write_scores
from emotion_pipeline.data.sequences import Labelled, labelled_rows
from emotion_pipeline.errors import UserError
from emotion_pipeline.fusion import SCORE_FUSIONS
from emotion_pipeline.fusion.inputs import Run, read_inputs
from emotion_pipeline.fusion.networks import NetworkParams, fuse_network
from emotion_pipeline.fusion.scores import choose_svm, choose_weights, svm_inputs, weighted_mean
from emotion_pipeline.params import (
    ModDropParams,
    ScoreFusionParams,
    ScoreTreeParams,
    Section,
    SvmFusionParams,
    WeightedMeanParams,
)
from emotion_pipeline.temporal.svm import LinearSvm, svm_scores
from emotion_pipeline.training.device import device_of
from emotion_pipeline.training.loop import write_rows

log = logging.getLogger(__name__)

Scores = Float[np.ndarray, "n k"]
FusionParams = ScoreFusionParams | SvmFusionParams | WeightedMeanParams | NetworkParams


def train_fusion(
    name: str,
    clips: Sequence[Clip],
    models: Mapping[str, Path],
    params: FusionParams,
    seed: int,
    out: Path,
    device: str = "auto",
    before: Path | None = None,
    checkpoint: Path | None = None,
) -> None:
    """Fuse what the temporal models say (`models[name]`/scores.h5 for each of `params.models`): write `out`/scores.h5.

    Beside it: weights.csv (weighted mean), or history.csv and model.safetensors (networks). A clip is present where
    any of the models is. Labels of train and val are seen, no other. `name` is the fusion's entry in `train_fusion`.

    A network is fitted on the train clips and stopped on val. The temporal models have learnt the train clips by
    heart, so there each model alone is nearly always right, and a network could trust any one of them. Against that:
    dropping whole modalities and parts of descriptors while training (each must be read by itself), weight decay, and
    the stop at the lowest loss on val, where the descriptors are those of unseen clips.

    `before`: the same fusion of models that were trained on train alone, where these here have learnt val, too. What
    was found on val is taken from there: the weights, or the number of epochs of a network, which is then fitted on
    train and val together. `checkpoint`: as in `training.fit`.
    """
    try:
        inputs = read_inputs({model: models[model] for model in params.models}, [c.clip_id for c in clips])
        run = Run(name, clips, inputs, seed, out, str(device_of(device)), before, checkpoint)
        scores = FUSERS[type(params)](run, params)
    except UserError as error:
        raise UserError(f"train_fusion.{name}: {error}") from error
    write_scores(out / "scores.h5", ScoreTable(inputs.clip_ids, scores, inputs.any_model))
    log.info("train_fusion.%s: scores of %d clips, %d without any model", name, len(scores), (~inputs.any_model).sum())


def _fuse_scores(run: Run, params: ScoreFusionParams) -> Scores:
    return SCORE_FUSIONS[run.name](run.inputs.scores, run.inputs.present)


def _fuse_weighted(run: Run, params: WeightedMeanParams) -> Scores:
    inputs = run.inputs
    if run.before is None:
        rows, labels = _val_rows(run, params.folds)
        rng = np.random.default_rng(run.seed)
        weights, held_out = choose_weights(
            inputs.scores[rows], inputs.present[rows], labels, params.steps, params.folds, rng
        )
        log.info("train_fusion.%s: accuracy %.3f on the val folds held out", run.name, held_out)
    else:
        weights = (
            pd.read_csv(run.before / "weights.csv", index_col="model").loc[list(inputs.names), "weight"].to_numpy(float)
        )
    write_rows(run.out / "weights.csv", [("model", "weight"), *zip(inputs.names, weights.tolist(), strict=True)])
    return weighted_mean(inputs.scores, inputs.present, weights)


def _fuse_svm(run: Run, params: SvmFusionParams) -> Scores:
    inputs = run.inputs
    if run.before is None:
        rows, labels = _val_rows(run, params.folds)
        rng = np.random.default_rng(run.seed)
        svm, tried = choose_svm(
            inputs.scores[rows], inputs.present[rows], labels, params.c, params.folds, rng, run.seed
        )
        write_rows(run.out / "history.csv", [("c", "val_accuracy"), *tried])
    else:
        tensors, _ = read_model(run.before / "model.safetensors")
        svm = LinearSvm(tensors["weight"], tensors["bias"], tensors["classes"])
    tensors = {"weight": svm.weight, "bias": svm.bias, "classes": svm.classes}
    write_model(run.out / "model.safetensors", tensors, {"model": run.name, "models": inputs.names})
    scores = svm_scores(svm, svm_inputs(inputs.scores, inputs.present))
    return np.where(inputs.any_model[:, None], scores, np.nan)


def _val_rows(run: Run, folds: int) -> Labelled:
    rows, labels = labelled_rows(run.clips, "val", run.inputs.clip_ids, run.inputs.any_model)
    if len(rows) < folds:
        raise UserError(f"folds: {folds}, but val has only {len(rows)} labelled clips")
    return rows, labels


FUSERS: dict[type[Section], Callable[..., Scores]] = {
    ScoreFusionParams: _fuse_scores,
    SvmFusionParams: _fuse_svm,
    WeightedMeanParams: _fuse_weighted,
    ModDropParams: fuse_network,
    ScoreTreeParams: fuse_network,
}
