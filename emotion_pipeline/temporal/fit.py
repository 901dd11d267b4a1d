"""Fit one temporal model on the clips of train; the clips of val stop it, or choose its C."""

from collections.abc import Callable

import numpy as np
from jaxtyping import Float, Int
from numpy.random import Generator, default_rng
from torch import Tensor, from_numpy

from emotion_pipeline.data.sequences import bucketed, padded, standardisation_of, standardise
from emotion_pipeline.params import AugmentParams, LstmParams, MlpParams, ScoresParams, SvmParams, TemporalParams
from emotion_pipeline.temporal.examples import Examples
from emotion_pipeline.temporal.model import FEATURES, build
from emotion_pipeline.training import loop
from emotion_pipeline.training.loop import Step, adamw, history_rows, mean_step, seed_torch
from emotion_pipeline.training.model import Model, Run, network_tensors, scaling_tensors
from emotion_pipeline.training.svm import choose_c, fit_svm

Batch = tuple[Float[Tensor, "b t d"], Int[Tensor, " b"], Int[Tensor, " b"]]
"""Padded sequences, their lengths, their classes."""

Steps = Float[np.ndarray, "t d"]
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
    mirrored = examples.mirrored or examples.sequences  # where it is not asked for
    return [augmented(examples.sequences[i], mirrored[i], params, params.max_length, rng) for i in rows]


def augmented(
    features: Steps, mirrored: Steps, params: AugmentParams, longest: int, rng: Generator
) -> Float[np.ndarray, "t2 d"]:
    """Return a random variant of 1 to `longest` steps; with nothing asked for, the sequence itself.

    With even chance it is that of the mirrored faces; of it a contiguous part of random length
    and place; that part stretched in time, by a factor as often above 1 as below, values between steps interpolated.
    """
    sequence = mirrored if params.augment_flip and rng.random() < 0.5 else features
    if params.augment_shortest < 1:
        length = max(1, round(len(sequence) * rng.uniform(params.augment_shortest, 1)))
        start = int(rng.integers(len(sequence) - length + 1))
        sequence = sequence[start : start + length]
    if params.augment_stretch > 1:
        steps = round(len(sequence) * params.augment_stretch ** rng.uniform(-1, 1))
        sequence = resampled(sequence, min(max(1, steps), longest))
    return sequence


def resampled(sequence: Steps, steps: int) -> Float[np.ndarray, "steps d"]:
    """Return the sequence at `steps` evenly spaced times from its first step to its last (one: its first)."""
    places = np.linspace(0, len(sequence) - 1, steps)
    before = places.astype(np.int64)
    after = np.minimum(before + 1, len(sequence) - 1)
    share = (places - before).astype(np.float32)[:, None]
    return (1 - share) * sequence[before] + share * sequence[after]


def _fit_svm(train: Examples, val: Examples | None, params: SvmParams, how: Run, chosen: Chosen) -> Model:
    scaling, both = standardisation_of(train.sequences, train.width), train + (val or train)
    values = standardise(np.concatenate(both.sequences), scaling)
    own, judge = np.split(np.arange(len(both.labels)), [len(train.labels)])
    c, tried = choose_c(values, both.labels, [chosen] if chosen else params.c, [(own, judge)], how.seed)
    svm = fit_svm(values[own], train.labels, c, how.seed)
    tensors = svm.tensors() | scaling_tensors({FEATURES: scaling})
    return Model(params, tensors, (("c", "val_accuracy"), *tried), train.width)


FITTERS: dict[type, Callable[..., Model]] = {
    ScoresParams: lambda train, _, params, *how: Model(params, inputs=train.width),
    LstmParams: _fit_network,
    MlpParams: _fit_network,
    SvmParams: _fit_svm,
}
