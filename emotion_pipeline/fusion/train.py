"""Fit one fusion where it has something to fit, and score every clip."""

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn import functional as F

from emotion_pipeline.clips import Clip, UserError
from emotion_pipeline.dataset import Standardisation, bucketed, labelled_rows, standardisation_of, standardise
from emotion_pipeline.device import device_of
from emotion_pipeline.emotions import EMOTIONS
from emotion_pipeline.fusion import SCORE_FUSIONS
from emotion_pipeline.fusion.moddrop import ModDropFusion
from emotion_pipeline.fusion.score_tree import ScoreTree
from emotion_pipeline.fusion.scores import choose_weights, weighted_mean
from emotion_pipeline.modelfile import write_model
from emotion_pipeline.params import (
    GammaParams,
    ModDropParams,
    ScoreFusionParams,
    ScoreTreeParams,
    Section,
    WeightedMeanParams,
)
from emotion_pipeline.scorefile import ScoreTable, read_scores, write_scores
from emotion_pipeline.training import Step, adamw, fit, history_rows, seed_torch, write_rows

log = logging.getLogger(__name__)

Scores = Float[np.ndarray, "n k"]
NetworkParams = ModDropParams | ScoreTreeParams
FusionParams = ScoreFusionParams | WeightedMeanParams | NetworkParams


@dataclass(frozen=True)
class Inputs:
    """What the temporal models say of the same n clips, sorted by clip id; NaN where a model is absent."""

    clip_ids: tuple[str, ...]
    names: tuple[str, ...]
    scores: Float[np.ndarray, "n m k"]
    present: Bool[np.ndarray, "n m"]
    descriptors: Mapping[str, Float[np.ndarray, "n _"]]  # of the models that have one

    @property
    def any_model(self) -> Bool[np.ndarray, " n"]:
        """Clips of which some model says something."""
        return np.asarray(self.present.any(axis=1))


class Batch(NamedTuple):
    """Standardised descriptors, scores and masks of some clips: what a network is called with."""

    descriptors: dict[str, Float[Tensor, "b _"]]
    scores: dict[str, Float[Tensor, "b k"]]
    present: Bool[Tensor, "b m"]

    def take(self, rows: Int[Tensor, " r"]) -> "Batch":
        """Some of the clips."""
        descriptors = {m: values[rows] for m, values in self.descriptors.items()}
        return Batch(descriptors, {m: values[rows] for m, values in self.scores.items()}, self.present[rows])


Labelled = tuple[Batch, Int[Tensor, " b"]]


def train_fusion(
    name: str, clips: Sequence[Clip], temporal: Path, params: FusionParams, out: Path, device: str = "auto"
) -> None:
    """Fuse `<temporal>/<model>/scores.h5` of `params.models` and write `out`/scores.h5.

    Beside it: weights.csv (weighted mean), or history.csv and model.safetensors (networks). A clip is present where
    any of the models is. Labels of train and val are seen, no other.

    A network is fitted on the train clips and stopped on val. The temporal models have learnt the train clips by
    heart, so there each model alone is nearly always right, and a network could trust any one of them. Against that:
    dropping whole modalities and parts of descriptors while training (each must be read by itself), weight decay, and
    the stop at the lowest loss on val, where the descriptors are those of unseen clips.
    """
    try:
        inputs = read_inputs(temporal, params.models, [c.clip_id for c in clips])
        scores = FUSERS[type(params)](name, clips, inputs, params, out, str(device_of(device)))
    except UserError as error:
        raise UserError(f"train_fusion.{name}: {error}") from error
    write_scores(out / "scores.h5", ScoreTable(inputs.clip_ids, scores, inputs.any_model))
    log.info("train_fusion.%s: scores of %d clips, %d without any model", name, len(scores), (~inputs.any_model).sum())


def read_inputs(temporal: Path, models: Sequence[str], clip_ids: Sequence[str]) -> Inputs:
    """Read the scores files. Raises UserError where one is missing or is not about exactly these clips."""
    ids, tables = tuple(sorted(clip_ids)), {}
    for model in models:
        path = temporal / model / "scores.h5"
        if not path.exists():
            raise UserError(f"{path}: no such file; run `dvc repro {temporal.name}@{model}`")
        tables[model] = read_scores(path)
        if tables[model].clip_ids != ids:
            raise UserError(f"{path}: not the clips of the manifest; run `dvc repro {temporal.name}@{model}`")
    return Inputs(
        clip_ids=ids,
        names=tuple(models),
        scores=np.stack([tables[m].scores for m in models], axis=1),
        present=np.stack([tables[m].present for m in models], axis=1),
        descriptors={m: d for m, t in tables.items() if (d := t.descriptor) is not None},
    )


def gamma(params: GammaParams, epoch: int) -> float:
    """Factor of the cross-modality penalty in an epoch (0, 1, ...)."""
    return params.first * params.factor**epoch


def _fuse_scores(
    name: str, clips: Sequence[Clip], inputs: Inputs, params: ScoreFusionParams, out: Path, device: str
) -> Scores:
    return SCORE_FUSIONS[name](inputs.scores, inputs.present)


def _fuse_weighted(
    name: str, clips: Sequence[Clip], inputs: Inputs, params: WeightedMeanParams, out: Path, device: str
) -> Scores:
    rows, labels = labelled_rows(clips, "val", inputs.clip_ids, inputs.any_model)
    if len(rows) < params.folds:
        raise UserError(f"folds: {params.folds}, but val has only {len(rows)} labelled clips")
    rng = np.random.default_rng(params.seed)
    weights, held_out = choose_weights(
        inputs.scores[rows], inputs.present[rows], labels, params.steps, params.folds, rng
    )
    log.info("train_fusion.%s: accuracy %.3f on the val folds held out", name, held_out)
    write_rows(out / "weights.csv", [("model", "weight"), *zip(inputs.names, weights.tolist(), strict=True)])
    return weighted_mean(inputs.scores, inputs.present, weights)


def _fuse_network(
    name: str, clips: Sequence[Clip], inputs: Inputs, params: NetworkParams, out: Path, device: str
) -> Scores:
    for model in inputs.names:
        if model not in inputs.descriptors:
            raise UserError(f"models: {model} has no descriptor")
    train, train_labels = labelled_rows(clips, "train", inputs.clip_ids, inputs.any_model)
    val, val_labels = labelled_rows(clips, "val", inputs.clip_ids, inputs.any_model)
    scaling = {m: _scaling(inputs, m, train) for m in inputs.names}
    everyone = _tensors(inputs, scaling, device)
    seed_torch(params.fit.seed)
    network = _build(params, {m: inputs.descriptors[m].shape[1] for m in inputs.names}).to(device)
    decayed = ("head",) if isinstance(params, ModDropParams) else ("features", "joined", "last")

    def batches(rows: np.ndarray, labels: np.ndarray, rng: np.random.Generator | None) -> list[Labelled]:
        cut = bucketed(np.ones(len(rows), np.int64), params.fit.batch_clips, rng)
        return [(everyone.take(torch.from_numpy(rows[b])), torch.from_numpy(labels[b]).to(device)) for b in cut]

    history = fit(
        network,
        adamw(network, decayed, params.fit.learning_rate, params.fit.weight_decay),
        lambda batch, epoch: _step(network, params, batch, epoch),
        lambda epoch: batches(train, train_labels, np.random.default_rng((params.fit.seed, epoch))),
        lambda: batches(val, val_labels, None),
        params.fit.epochs,
        params.fit.patience,
    )
    write_rows(out / "history.csv", history_rows(history))
    tensors = {f"model.{key}": value.cpu().numpy() for key, value in network.state_dict().items()}
    for model, by in scaling.items():
        tensors |= {f"standardise.{model}.mean": by.mean, f"standardise.{model}.scale": by.scale}
    write_model(out / "model.safetensors", tensors, {"model": name, "params": params.model_dump()})
    with torch.no_grad():
        return network(*everyone).softmax(dim=1).cpu().numpy()


def _scaling(inputs: Inputs, model: str, train: np.ndarray) -> Standardisation:
    values = inputs.descriptors[model][train[inputs.present[train, inputs.names.index(model)]]]
    return standardisation_of([values], values.shape[1])


def _build(params: NetworkParams, widths: Mapping[str, int]) -> ModDropFusion | ScoreTree:
    classes = len(EMOTIONS)
    if isinstance(params, ModDropParams):
        return ModDropFusion(widths, params.hidden, classes, params.drop_probability, params.dropout)
    return ScoreTree(widths, classes, params.drop_probability, params.dropout)


def _step(network: ModDropFusion | ScoreTree, params: NetworkParams, batch: Labelled, epoch: int) -> Step:
    """Cross-entropy; in training of ModDrop, gamma times the penalty is added."""
    clips, labels = batch
    logits = network(*clips)
    loss = F.cross_entropy(logits, labels)
    if network.training and isinstance(params, ModDropParams):
        loss = loss + gamma(params.gamma, epoch) * network.penalty()  # type: ignore[operator]
    return Step(loss, len(labels), (logits.argmax(dim=1) == labels).sum())


def _tensors(inputs: Inputs, scaling: Mapping[str, Standardisation], device: str) -> Batch:
    """All clips."""

    def tensor(values: np.ndarray) -> Tensor:
        return torch.from_numpy(values).to(device)

    return Batch(
        {m: tensor(standardise(inputs.descriptors[m], scaling[m])) for m in inputs.names},
        {m: tensor(inputs.scores[:, i]) for i, m in enumerate(inputs.names)},
        tensor(inputs.present),
    )


FUSERS: dict[type[Section], Callable[..., Scores]] = {
    ScoreFusionParams: _fuse_scores,
    WeightedMeanParams: _fuse_weighted,
    ModDropParams: _fuse_network,
    ScoreTreeParams: _fuse_network,
}
