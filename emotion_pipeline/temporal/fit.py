"""Fit one temporal model on the clips of train; the clips of val stop it, or choose its C."""

from collections.abc import Callable

import numpy as np
from jaxtyping import Float, Int
from numpy.random import Generator, default_rng
from torch import Tensor, from_numpy

from emotion_pipeline.data.sequences import bucketed, padded, standardisation_of, standardise
from emotion_pipeline.params import LstmParams, MlpParams, ScoresParams, SvmParams, TemporalParams
from emotion_pipeline.temporal.augment import augmented
from emotion_pipeline.temporal.examples import Examples
from emotion_pipeline.temporal.model import FEATURES, build
from emotion_pipeline.training import loop
from emotion_pipeline.training.loop import Step, adamw, history_rows, mean_step, seed_torch
from emotion_pipeline.training.model import Model, Run, network_tensors, scaling_tensors
from emotion_pipeline.training.svm import fit_chosen_c

Batch = tuple[Float[Tensor, "b t d"], Int[Tensor, " b"], Int[Tensor, " b"]]
"""Padded sequences, their lengths, their classes."""

Chosen = int | float | None
NetworkParams = LstmParams | MlpParams

DECAYED = {LstmParams: ("final",), MlpParams: ("hidden", "head")}
"""Layers that weight decay touches."""


def fit(train: Examples, val: Examples | None, params: TemporalParams, how: Run, chosen: Chosen = None) -> Model:
    """Return the model of `params`, fitted. A pooling has nothing to fit.

    Without `val` it is trained for `chosen` epochs, or with C = `chosen`: what was found on val before (see
    `loop.chosen_on_val`).
    """
    return FITTERS[type(params)](train, val, params, how, chosen)


def _fit_network(train: Examples, val: Examples | None, params: NetworkParams, how: Run, chosen: Chosen) -> Model:
    seed_torch(how.seed)
    wanted = isinstance(params, MlpParams) or params.standardise
    scaling = standardisation_of(train.sequences, train.width) if wanted else None
    network = build(params, train.width).to(how.device)

    def batches(examples: Examples, rng: Generator | None = None) -> list[Batch]:
        made = []
        for rows in bucketed(np.array([len(s) for s in examples.sequences]), params.batch_clips, rng):
            features, lengths = padded([standardise(s, scaling) for s in _variants(examples, rows, params, rng)])
            labels = from_numpy(examples.labels[rows])
            made.append((features.to(how.device), lengths.to(how.device), labels.to(how.device)))
        return made

    def step(batch: Batch, epoch: int) -> Step:
        features, lengths, labels = batch
        return mean_step(network(features, lengths)[1], labels)

    history = loop.fit(
        network,
        adamw(network, DECAYED[type(params)], params.learning_rate, params.weight_decay),
        step,
        lambda epoch: batches(train, default_rng((how.seed, epoch))),
        (lambda: batches(val)) if val else None,
        int(chosen or params.epochs),
        params.patience,
        checkpoint=how.checkpoint,
    )
    return Model(params, network_tensors(network, {FEATURES: scaling}), tuple(history_rows(history)), train.width)


def _variants(
    examples: Examples, rows: Int[np.ndarray, " _"], params: NetworkParams, rng: Generator | None
) -> list[np.ndarray]:
    """Return some sequences, with a generator as training sees them."""
    if rng is None or isinstance(params, MlpParams):
        return [examples.sequences[i] for i in rows]
    mirrored = examples.mirrored or (None,) * len(examples.sequences)
    return [augmented(examples.sequences[i], mirrored[i], params, params.max_length, rng) for i in rows]


def _fit_svm(train: Examples, val: Examples | None, params: SvmParams, how: Run, chosen: Chosen) -> Model:
    scaling = standardisation_of(train.sequences, train.width)
    splits = [(standardise(np.concatenate(e.sequences), scaling), e.labels) for e in (train, val or train)]
    svm, tried = fit_chosen_c(splits[0], splits[1], [chosen] if chosen else params.c, how.seed)
    tensors = svm.tensors() | scaling_tensors({FEATURES: scaling})
    return Model(params, tensors, (("c", "val_accuracy"), *tried), train.width)


FITTERS: dict[type, Callable[..., Model]] = {
    ScoresParams: lambda train, _, params, *how: Model(params, inputs=train.width),
    LstmParams: _fit_network,
    MlpParams: _fit_network,
    SvmParams: _fit_svm,
}
