"""Train one temporal model on train, stop or choose on val, and score every clip."""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from emotion_pipeline.data.manifest import Clip
from emotion_pipeline.data.models import write_model
from emotion_pipeline.data.scores import ScoreTable, write_scores
from emotion_pipeline.data.sequences import bucketed, padded, standardise
from emotion_pipeline.emotions import EMOTIONS
from emotion_pipeline.errors import UserError
from emotion_pipeline.params import (
    FitParams,
    LstmParams,
    MlpParams,
    ModelParams,
    ScoresParams,
    SvmParams,
    TemporalParams,
)
from emotion_pipeline.temporal.augment import augmented
from emotion_pipeline.temporal.baselines import BASELINES
from emotion_pipeline.temporal.inputs import Data, read_data
from emotion_pipeline.temporal.lstm import LSTMClassifier
from emotion_pipeline.temporal.perceptron import AudioPerceptron
from emotion_pipeline.temporal.svm import choose_c, svm_scores
from emotion_pipeline.training.device import device_of
from emotion_pipeline.training.loop import Step, adamw, fit, history_rows, seed_torch, write_rows

log = logging.getLogger(__name__)

Network = LSTMClassifier | AudioPerceptron


class Batch(NamedTuple):
    """Padded sequences and their classes."""

    features: Float[Tensor, "b t d"]
    lengths: Int[Tensor, " b"]
    labels: Int[Tensor, " b"]


@dataclass(frozen=True)
class Trained:
    """A fitted model and what it says of the clips that have the modality (rows in their order)."""

    scores: Float[np.ndarray, "p k"]
    descriptor: Float[np.ndarray, "p e"] | None
    tensors: dict[str, np.ndarray]
    history: Sequence[Sequence[str | int | float]]  # the header, then one row an epoch


def train_temporal(
    name: str,
    clips: Sequence[Clip],
    features: Path,
    params: TemporalParams,
    seed: int,
    out: Path,
    device: str = "auto",
    checkpoint: Path | None = None,
    found: int | float | None = None,
) -> None:
    """Fit the model of `params` and write `out`/scores.h5, model.safetensors and history.csv.

    `features` is the folder of a per-clip stage; the scores are those of all clips. Labels of train fit the model,
    labels of val stop it (or choose C); no other label is looked at. `checkpoint`: as in `training.fit`. `found`
    (see `training.found_on_val`): trained on train and val together for so many epochs, or with this C. A model without
    anything to fit leaves scores.h5 alone. Raises UserError where the features do not fit.
    """
    try:
        data = read_data(clips, features, params, with_val=found is not None)
        trained = TRAINERS[type(params)](data, params, seed, device_of(device), checkpoint, found)
    except UserError as error:
        raise UserError(f"train_temporal.{name}: {error}") from error
    present = data.sequences.lengths > 0
    ids = data.sequences.clip_ids
    descriptor = None if trained.descriptor is None else _spread(trained.descriptor, present)
    write_scores(out / "scores.h5", ScoreTable(ids, _spread(trained.scores, present), present, descriptor))
    if trained.history:
        write_rows(out / "history.csv", trained.history)
        scaling = data.scaling
        tensors = {} if scaling is None else {"standardise.mean": scaling.mean, "standardise.scale": scaling.scale}
        description = {"model": name, "inputs": data.sequences.width, "classes": EMOTIONS, "seed": seed}
        description["params"] = params.model_dump()
        write_model(out / "model.safetensors", {**tensors, **trained.tensors}, description)
    log.info("train_temporal.%s: scores of %d clips, %d without the modality", name, len(ids), (~present).sum())


def _network(
    data: Data,
    params: LstmParams | MlpParams,
    seed: int,
    device: torch.device,
    checkpoint: Path | None,
    found: int | float | None,
) -> Trained:
    seed_torch(seed)
    val = data.val
    model, decayed = _build(params, data.sequences.width)
    model.to(device)

    def batches(rows: np.ndarray, labels: np.ndarray, rng: np.random.Generator | None) -> list[Batch]:
        cut = bucketed(data.sequences.lengths[rows], params.fit.batch_clips, rng)
        return [_batch(data, _sequences(data, rows[b], params, rng), labels[b], device) for b in cut]

    history = fit(
        model,
        adamw(model, decayed, params.fit.learning_rate, params.fit.weight_decay),
        lambda batch, epoch: _step(model, batch),
        lambda epoch: batches(*data.train, np.random.default_rng((seed, epoch))),
        (lambda: batches(*val, None)) if val else None,
        int(found or params.fit.epochs),
        params.fit.patience,
        checkpoint=checkpoint,
    )
    scores, descriptor = _predict(model, data, params.fit, device)
    tensors = {f"model.{key}": value.cpu().numpy() for key, value in model.state_dict().items()}
    return Trained(scores, descriptor, tensors, history_rows(history))


def _build(params: LstmParams | MlpParams, inputs: int) -> tuple[Network, tuple[str, ...]]:
    """The network, and the names of its layers that weight decay touches."""
    if isinstance(params, MlpParams):
        return AudioPerceptron(inputs, params.descriptor, len(EMOTIONS), params.dropout), ("hidden", "head")
    lstm = LSTMClassifier(
        inputs,
        params.hidden,
        params.descriptor,
        len(EMOTIONS),
        params.layers,
        params.bidirectional,
        params.dropout,
    )
    return lstm, ("final",)


def _run(model: nn.Module, batch: Batch) -> tuple[Tensor, Tensor]:
    if isinstance(model, AudioPerceptron):
        return model(batch.features[:, 0])
    return model(batch.features, batch.lengths)


def _step(model: nn.Module, batch: Batch) -> Step:
    _, logits = _run(model, batch)
    correct = (logits.argmax(dim=1) == batch.labels).sum()
    return Step(F.cross_entropy(logits, batch.labels), len(batch.labels), correct)


def _sequences(
    data: Data, rows: np.ndarray, params: LstmParams | MlpParams, rng: np.random.Generator | None
) -> list[np.ndarray]:
    """The sequences of some clips, with a generator as training sees them."""
    arrays = data.sequences.arrays
    if rng is None or isinstance(params, MlpParams):
        return [arrays[i] for i in rows]
    mirrored = data.mirrored or (None,) * len(arrays)
    return [augmented(arrays[i], mirrored[i], params.augment, params.max_length, rng) for i in rows]


def _batch(data: Data, arrays: Sequence[np.ndarray], labels: np.ndarray, device: torch.device) -> Batch:
    if data.scaling is not None:
        arrays = [standardise(a, data.scaling) for a in arrays]
    features, lengths = padded(arrays)
    return Batch(features.to(device), lengths.to(device), torch.from_numpy(labels).to(device))


@torch.no_grad()
def _predict(
    model: nn.Module, data: Data, params: FitParams, device: torch.device
) -> tuple[Float[np.ndarray, "p k"], Float[np.ndarray, "p e"]]:
    """Scores and descriptors of all clips that have the modality, in the order of their rows."""
    rows = np.flatnonzero(data.sequences.lengths)
    cut = bucketed(data.sequences.lengths[rows], params.batch_clips)
    arrays = [data.sequences.arrays[i] for i in rows]
    parts = [_run(model, _batch(data, [arrays[i] for i in b], np.zeros(len(b), np.int64), device)) for b in cut]
    back = np.argsort(np.concatenate(cut))
    descriptor = torch.cat([d for d, _ in parts])[back]
    scores = torch.cat([logits for _, logits in parts])[back].softmax(dim=1)
    return scores.cpu().numpy(), descriptor.cpu().numpy()


def _svm(
    data: Data, params: SvmParams, seed: int, device: torch.device, checkpoint: Path | None, found: int | float | None
) -> Trained:
    rows = np.flatnonzero(data.sequences.lengths)
    values = np.zeros((len(data.sequences.arrays), data.sequences.width), np.float32)
    values[rows] = np.concatenate([data.sequences.arrays[i] for i in rows])
    if data.scaling is not None:
        values = standardise(values, data.scaling)
    train, val = [(values[r], labels) for r, labels in (data.train, data.val or data.train)]
    svm, tried = choose_c(train, val, [found] if found else params.c, seed)
    tensors = {"svm.weight": svm.weight, "svm.bias": svm.bias, "svm.classes": svm.classes}
    return Trained(svm_scores(svm, values[rows]), None, tensors, [("c", "val_accuracy"), *tried])


def _spread(values: Float[np.ndarray, "p d"], present: Bool[np.ndarray, " n"]) -> Float[np.ndarray, "n d"]:
    everyone = np.full((len(present), values.shape[1]), np.nan, np.float32)
    everyone[present] = values
    return everyone


def _scores(
    data: Data,
    params: ScoresParams,
    seed: int,
    device: torch.device,
    checkpoint: Path | None,
    found: int | float | None,
) -> Trained:
    """Nothing to fit: the scores over time of each clip, joined."""
    join = BASELINES[params.pooling]
    scores = [join(data.sequences.arrays[i]) for i in np.flatnonzero(data.sequences.lengths)]
    return Trained(np.array(scores, np.float32), None, {}, [])


TRAINERS: dict[type[ModelParams], Callable[..., Trained]] = {
    ScoresParams: _scores,
    LstmParams: _network,
    MlpParams: _network,
    SvmParams: _svm,
}
