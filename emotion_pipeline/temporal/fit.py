"""Fit one temporal model on the clips of train; the clips of val stop it, or choose its C."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Int
from numpy.random import Generator, default_rng
from torch import Tensor
from torch.nn import functional as F

from emotion_pipeline.data.sequences import Standardisation, bucketed, padded, standardisation_of, standardise
from emotion_pipeline.params import LstmParams, MlpParams, ModelParams, ScoresParams, SvmParams, TemporalParams
from emotion_pipeline.temporal.augment import augmented
from emotion_pipeline.temporal.examples import Examples
from emotion_pipeline.temporal.model import TemporalModel, build, run
from emotion_pipeline.temporal.svm import fit_chosen_c
from emotion_pipeline.training import loop
from emotion_pipeline.training.loop import Step, adamw, history_rows, seed_torch

Batch = tuple[Float[Tensor, "b t d"], Int[Tensor, " b"], Int[Tensor, " b"]]
"""Padded sequences, their lengths, their classes."""

DECAYED = {LstmParams: ("final",), MlpParams: ("hidden", "head")}
"""Layers that weight decay touches."""


def fit(
    train: Examples,
    val: Examples | None,
    params: TemporalParams,
    seed: int,
    device: torch.device,
    checkpoint: Path | None = None,
    chosen: int | float | None = None,
) -> TemporalModel:
    """Return the model of `params`, fitted.

    Without `val` it is trained for `chosen` epochs, or with C = `chosen`: what was found on val before (see
    `loop.chosen_on_val`). `checkpoint`: as in `loop.fit`. A pooling has nothing to fit.
    """
    return FITTERS[type(params)](train, val, params, seed, device, checkpoint, chosen)


def _fit_network(
    train: Examples,
    val: Examples | None,
    params: LstmParams | MlpParams,
    seed: int,
    device: torch.device,
    checkpoint: Path | None,
    chosen: int | float | None,
) -> TemporalModel:
    seed_torch(seed)
    inputs = train.sequences[0].shape[1]
    wanted = params.standardise if isinstance(params, LstmParams) else True
    scaling = standardisation_of(train.sequences, inputs) if wanted else None
    network = build(params, inputs).to(device)

    def batches(examples: Examples, rng: Generator | None = None) -> list[Batch]:
        cut = bucketed(examples.lengths, params.batch_clips, rng)
        return [_batch(examples, rows, params, scaling, device, rng) for rows in cut]

    def step(batch: Batch, epoch: int) -> Step:
        features, lengths, labels = batch
        _, logits = run(network, features, lengths)
        return Step(F.cross_entropy(logits, labels), len(labels), (logits.argmax(dim=1) == labels).sum())

    history = loop.fit(
        network,
        adamw(network, DECAYED[type(params)], params.learning_rate, params.weight_decay),
        step,
        lambda epoch: batches(train, default_rng((seed, epoch))),
        (lambda: batches(val)) if val else None,
        int(chosen or params.epochs),
        params.patience,
        checkpoint=checkpoint,
    )
    tensors = {f"model.{key}": value.cpu().numpy() for key, value in network.state_dict().items()}
    return TemporalModel(params, inputs, tensors | _scaling_tensors(scaling), tuple(history_rows(history)))


def _batch(
    examples: Examples,
    rows: Int[np.ndarray, " _"],
    params: LstmParams | MlpParams,
    scaling: Standardisation | None,
    device: torch.device,
    rng: Generator | None,
) -> Batch:
    """Return some examples as a batch, with a generator as training sees them."""
    sequences = [standardise(sequence, scaling) for sequence in _variants(examples, rows, params, rng)]
    features, lengths = padded(sequences)
    return features.to(device), lengths.to(device), torch.from_numpy(examples.labels[rows]).to(device)


def _variants(
    examples: Examples, rows: Int[np.ndarray, " _"], params: LstmParams | MlpParams, rng: Generator | None
) -> Sequence[np.ndarray]:
    sequences = examples.sequences
    if rng is None or isinstance(params, MlpParams):
        return [sequences[i] for i in rows]
    mirrored = examples.mirrored or (None,) * len(sequences)
    return [augmented(sequences[i], mirrored[i], params, params.max_length, rng) for i in rows]


def _fit_svm(
    train: Examples,
    val: Examples | None,
    params: SvmParams,
    seed: int,
    device: torch.device,
    checkpoint: Path | None,
    chosen: int | float | None,
) -> TemporalModel:
    inputs = train.sequences[0].shape[1]
    scaling = standardisation_of(train.sequences, inputs)
    splits = [(standardise(np.concatenate(e.sequences), scaling), e.labels) for e in (train, val or train)]
    svm, tried = fit_chosen_c(splits[0], splits[1], [chosen] if chosen else params.c, seed)
    tensors = {"model.weight": svm.weight, "model.bias": svm.bias, "model.classes": svm.classes}
    return TemporalModel(params, inputs, tensors | _scaling_tensors(scaling), (("c", "val_accuracy"), *tried))


def _fit_nothing(train: Examples, val: Examples | None, params: ScoresParams, *_: object) -> TemporalModel:
    return TemporalModel(params, train.sequences[0].shape[1])


def _scaling_tensors(scaling: Standardisation | None) -> dict[str, np.ndarray]:
    return {} if scaling is None else {"standardise.mean": scaling.mean, "standardise.scale": scaling.scale}


FITTERS: dict[type[ModelParams], Callable[..., TemporalModel]] = {
    ScoresParams: _fit_nothing,
    LstmParams: _fit_network,
    MlpParams: _fit_network,
    SvmParams: _fit_svm,
}
