"""The scores that a trained temporal model gives to clips."""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import torch
from jaxtyping import Float
from torch import nn

from emotion_pipeline.data.scores import ScoreTable
from emotion_pipeline.data.sequences import padded, standardise
from emotion_pipeline.emotions import EMOTIONS
from emotion_pipeline.errors import UserError
from emotion_pipeline.params import LstmParams, MlpParams, ScoresParams, SvmParams
from emotion_pipeline.temporal.networks import AudioPerceptron, LSTMClassifier
from emotion_pipeline.training.model import Model
from emotion_pipeline.training.svm import LinearSvm, svm_scores

FEATURES = "features"
"""Name of what is standardised."""

Scores = Float[np.ndarray, "t k"]
Pooled = Float[np.ndarray, " k"]

Scorer = Callable[[Float[np.ndarray, "t d"]], tuple[np.ndarray, ...]]
"""Gives the softmax scores (k,) of a clip and, where the model has one, its descriptor (e,)."""


def build(params: LstmParams | MlpParams, inputs: int) -> nn.Module:
    """Return the network of a model, untrained: descriptors (b, e) and logits (b, k) of sequences and their lengths."""
    if isinstance(params, MlpParams):
        return AudioPerceptron(inputs, params.descriptor, len(EMOTIONS), params.dropout)
    sizes = (params.hidden, params.descriptor, len(EMOTIONS), params.layers)
    return LSTMClassifier(inputs, *sizes, params.bidirectional, params.dropout)


def score_clips(model: Model, sequences: Mapping[str, Float[np.ndarray, "t d"]], device: torch.device) -> ScoreTable:
    """Return the scores of all clips; a clip without the modality has none.

    Each clip is scored by itself: its scores depend on no other clip. Raises UserError for features of another width.
    """
    width = next(iter(sequences.values())).shape[1]
    if width != model.inputs:
        raise UserError(f"the features have {width} values a step, the model was trained on {model.inputs}")
    score, present = SCORERS[type(model.params)](model, device), np.array([len(s) > 0 for s in sequences.values()])
    columns = zip(*(score(sequence) for sequence in sequences.values() if len(sequence)), strict=True)
    scores, *descriptor = (_spread(rows, present) for rows in columns)
    return ScoreTable(tuple(sequences), scores, present, *descriptor)


def _spread(rows: Sequence[np.ndarray], present: np.ndarray) -> Float[np.ndarray, "n d"]:
    """Return the rows of the clips that have the modality among rows of NaN."""
    everyone = np.full((len(present), len(rows[0])), np.nan, np.float32)
    everyone[present] = rows
    return everyone


def _network_scorer(model: Model, device: torch.device) -> Scorer:
    network, scaling = model.load(build(model.params, model.inputs), device), model.scaling(FEATURES)

    @torch.no_grad()
    def score(sequence: Float[np.ndarray, "t d"]) -> tuple[np.ndarray, ...]:
        features, lengths = padded([standardise(sequence, scaling)])
        descriptor, logits = network(features.to(device), lengths.to(device))
        return logits.softmax(dim=1)[0].cpu().numpy(), descriptor[0].cpu().numpy()

    return score


def _svm_scorer(model: Model, device: torch.device) -> Scorer:
    svm, scaling = LinearSvm.of(model.tensors), model.scaling(FEATURES)
    return lambda sequence: (svm_scores(svm, standardise(sequence, scaling))[0],)


def maximum(scores: Scores) -> Pooled:
    """Return per class the highest score over time, divided by their sum ("maximum of the scores", table 2)."""
    highest = scores.max(axis=0)
    return highest / highest.sum()


def mean(scores: Scores) -> Pooled:
    """Return the mean over time: its maximum is the prediction."""
    return scores.mean(axis=0)


def majority(scores: Scores) -> Pooled:
    """Return the votes of frames or windows for their best class; among equal votes the higher mean score wins."""
    votes = np.bincount(scores.argmax(axis=1), minlength=scores.shape[1])
    return (votes + mean(scores)) / (len(scores) + 1)


def most_certain(scores: Scores) -> Pooled:
    """Return the scores of the window with the maximal softmax score of the video (section 3.2.2)."""
    return scores[scores.max(axis=1).argmax()]


def central(scores: Scores) -> Pooled:
    """Return the scores of the window in the middle, the later one of two."""
    return scores[len(scores) // 2]


POOLINGS: dict[str, Callable[[Scores], Pooled]] = {
    pooling.__name__: pooling for pooling in (maximum, mean, majority, most_certain, central)
}
"""Without a sequence model: the scores of a clip's frames or windows, pooled into one; by the name in `pooling`."""


def _pooling_scorer(model: Model, device: torch.device) -> Scorer:
    pool = POOLINGS[model.params.pooling]
    return lambda scores: (pool(scores),)


SCORERS: dict[type, Callable[[Model, torch.device], Scorer]] = {
    ScoresParams: _pooling_scorer,
    LstmParams: _network_scorer,
    MlpParams: _network_scorer,
    SvmParams: _svm_scorer,
}
