"""The scores that a trained temporal model gives to clips."""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from emotion_pipeline.data.scores import ScoreTable
from emotion_pipeline.data.sequences import Sequences, padded, standardise
from emotion_pipeline.emotions import EMOTIONS
from emotion_pipeline.errors import UserError
from emotion_pipeline.params import LstmParams, MlpParams, ModelParams, ScoresParams, SvmParams
from emotion_pipeline.temporal.lstm import LSTMClassifier
from emotion_pipeline.temporal.perceptron import AudioPerceptron
from emotion_pipeline.temporal.pooling import POOLINGS
from emotion_pipeline.temporal.svm import LinearSvm, svm_scores
from emotion_pipeline.training.model import Model

FEATURES = "features"
"""Name of what is standardised."""

Scored = tuple[Float[np.ndarray, " k"], Float[np.ndarray, " e"] | None]
"""Softmax scores of a clip, and its descriptor where the model has one."""

Scorer = Callable[[Float[np.ndarray, "t d"]], Scored]


def build(params: LstmParams | MlpParams, inputs: int) -> nn.Module:
    """Return the network of a model, untrained."""
    if isinstance(params, MlpParams):
        return AudioPerceptron(inputs, params.descriptor, len(EMOTIONS), params.dropout)
    sizes = (params.hidden, params.descriptor, len(EMOTIONS), params.layers)
    return LSTMClassifier(inputs, *sizes, params.bidirectional, params.dropout)


def run(network: nn.Module, features: Float[Tensor, "b t d"], lengths: Tensor) -> tuple[Tensor, Tensor]:
    """Return the descriptors (b, e) and the logits (b, k) of a batch; the perceptron reads one step."""
    return network(features[:, 0]) if isinstance(network, AudioPerceptron) else network(features, lengths)


def score_clips(model: Model, sequences: Sequences, device: torch.device) -> ScoreTable:
    """Return the scores of all clips; a clip without the modality has none.

    Each clip is scored by itself: its scores depend on no other clip. Raises UserError for features of another width.
    """
    if sequences.width != model.inputs:
        raise UserError(f"the features have {sequences.width} values a step, the model was trained on {model.inputs}")
    score, present = SCORERS[type(model.params)](model, device), sequences.lengths > 0
    scored = [score(sequences.arrays[i]) for i in np.flatnonzero(present)]
    described = [descriptor for _, descriptor in scored if descriptor is not None]
    scores = _spread([scores for scores, _ in scored], present)
    return ScoreTable(sequences.clip_ids, scores, present, _spread(described, present) if described else None)


def _spread(rows: Sequence[np.ndarray], present: np.ndarray) -> Float[np.ndarray, "n d"]:
    """Return the rows of the clips that have the modality among rows of NaN."""
    everyone = np.full((len(present), len(rows[0])), np.nan, np.float32)
    everyone[present] = rows
    return everyone


def _network_scorer(model: Model, device: torch.device) -> Scorer:
    network, scaling = build(model.params, model.inputs), model.scaling(FEATURES)
    network.load_state_dict(model.state())
    network.to(device).eval()

    @torch.no_grad()
    def score(sequence: Float[np.ndarray, "t d"]) -> Scored:
        features, lengths = padded([standardise(sequence, scaling)])
        descriptor, logits = run(network, features.to(device), lengths.to(device))
        return logits.softmax(dim=1)[0].cpu().numpy(), descriptor[0].cpu().numpy()

    return score


def _svm_scorer(model: Model, device: torch.device) -> Scorer:
    svm, scaling = LinearSvm.of(model.tensors), model.scaling(FEATURES)
    return lambda sequence: (svm_scores(svm, standardise(sequence, scaling))[0], None)


def _pooling_scorer(model: Model, device: torch.device) -> Scorer:
    pool = POOLINGS[model.params.pooling]
    return lambda scores: (pool(scores), None)


SCORERS: dict[type[ModelParams], Callable[[Model, torch.device], Scorer]] = {
    ScoresParams: _pooling_scorer,
    LstmParams: _network_scorer,
    MlpParams: _network_scorer,
    SvmParams: _svm_scorer,
}
