"""Fit one fusion, where it has something to fit, on what the temporal models say of the clips of train and val.

The temporal models have learnt the clips of train by heart: a network that is fitted there could trust any one of them.
Against that, training drops whole modalities and parts of descriptors, decays weights, and stops at the lowest loss on
val, whose clips the temporal models have not seen.
"""

import logging
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from jaxtyping import Int
from numpy.random import Generator, default_rng
from torch import Tensor, from_numpy

from emotion_pipeline.data.sequences import Labelled, Standardisation, both, bucketed, standardisation_of
from emotion_pipeline.errors import UserError
from emotion_pipeline.fusion.model import Batch, Inputs, Network, NetworkParams, build, network_inputs, one_thread
from emotion_pipeline.fusion.networks import ModDropFusion
from emotion_pipeline.fusion.scores import choose_svm, choose_weights
from emotion_pipeline.params import (
    FusionParams,
    ModDropParams,
    RuleParams,
    ScoreTreeParams,
    SvmFusionParams,
    WeightedMeanParams,
)
from emotion_pipeline.training import loop
from emotion_pipeline.training.loop import Step, adamw, chosen_on_val, history_rows, mean_step, seed_torch
from emotion_pipeline.training.model import Model, Run, network_tensors

log = logging.getLogger(__name__)

LabelledBatch = tuple[Batch, Int[Tensor, " b"]]


class Learnt(NamedTuple):
    """What fitting may see: inputs and classes of the labelled clips of train and val for which some model is there."""

    inputs: Inputs
    train: Labelled
    val: Labelled


def fit(learnt: Learnt, params: FusionParams, how: Run, before: Model | None = None) -> Model:
    """Return the fusion of `params`, fitted.

    `before`: the same fusion of models that had not learnt val, where these here have. Its weights or machine are
    taken; a network is fitted on train and val together, for the number of epochs that was best before.
    """
    if before is not None and not isinstance(params, NetworkParams):
        return Model(params, before.tensors)
    return FITTERS[type(params)](learnt, params, how, before)


def gamma(params: ModDropParams, epoch: int) -> float:
    """Return the factor of the cross-modality penalty in an epoch (0, 1, ...)."""
    return params.gamma_first * params.gamma_factor**epoch


def _fit_weights(learnt: Learnt, params: WeightedMeanParams, how: Run, _: None) -> Model:
    val, labels = learnt.inputs.take(learnt.val[0]), learnt.val[1]
    weights, right = choose_weights(val.scores, val.present, labels, params.steps, params.folds, how.seed)
    log.info("fuse: accuracy %.3f on the folds of val kept back", right)
    return Model(params, {"weights": weights})


def _fit_svm(learnt: Learnt, params: SvmFusionParams, how: Run, _: None) -> Model:
    val, labels = learnt.inputs.take(learnt.val[0]), learnt.val[1]
    svm, tried = choose_svm(val.scores, val.present, labels, params.c, params.folds, how.seed)
    return Model(params, svm.tensors(), (("c", "val_accuracy"), *tried))


@one_thread()
def _fit_network(learnt: Learnt, params: NetworkParams, how: Run, before: Model | None) -> Model:
    inputs, train = learnt.inputs, learnt.train if before is None else both(learnt.train, learnt.val)
    scaling = {model: _scaling(inputs, model, train[0]) for model in inputs.names}
    seed_torch(how.seed)
    network = build(params, scaling).to(how.device)
    decayed = ("head",) if isinstance(params, ModDropParams) else ("features", "joined", "last")

    def batches(clips: Labelled, rng: Generator | None = None) -> list[LabelledBatch]:
        cut = bucketed(np.ones(len(clips[0]), np.int64), params.batch_clips, rng)
        parts = [(inputs.take(clips[0][rows]), from_numpy(clips[1][rows])) for rows in cut]
        return [(network_inputs(part, scaling, how.device), labels.to(how.device)) for part, labels in parts]

    history = loop.fit(
        network,
        adamw(network, decayed, params.learning_rate, params.weight_decay),
        lambda batch, epoch: _step(network, params, batch, epoch),
        lambda epoch: batches(train, default_rng((how.seed, epoch))),
        (lambda: batches(learnt.val)) if before is None else None,
        params.epochs if before is None else int(chosen_on_val(before.history)),
        params.patience,
        checkpoint=how.checkpoint,
    )
    return Model(params, network_tensors(network, scaling), tuple(history_rows(history)))


def _scaling(inputs: Inputs, model: str, train: Int[np.ndarray, " t"]) -> Standardisation:
    if model not in inputs.descriptors:
        raise UserError(f"models: {model} has no descriptor")
    values = inputs.descriptors[model][train[inputs.present[train, inputs.names.index(model)]]]
    return standardisation_of([values], values.shape[1])


def _step(network: Network, params: NetworkParams, batch: LabelledBatch, epoch: int) -> Step:
    """Return the loss; training ModDrop adds gamma times the penalty, or releases the blocks in time."""
    clips, labels = batch
    extra: Tensor | float = 0.0
    if network.training and isinstance(network, ModDropFusion) and isinstance(params, ModDropParams):
        if params.cross_modality == "penalty":
            extra = gamma(params, epoch) * network.penalty()
        else:
            network.blocked = epoch < params.blocked_epochs
    return mean_step(network(*clips), labels, extra)


FITTERS: dict[type, Callable[..., Model]] = {
    RuleParams: lambda _, params, *how: Model(params),
    WeightedMeanParams: _fit_weights,
    SvmFusionParams: _fit_svm,
    ModDropParams: _fit_network,
    ScoreTreeParams: _fit_network,
}
