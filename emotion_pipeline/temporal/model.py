"""A trained temporal model as a record and a file, and the scores that it gives to a clip."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from pydantic import TypeAdapter
from torch import Tensor, nn

from emotion_pipeline.data.models import read_model, write_model
from emotion_pipeline.data.scores import ScoreTable
from emotion_pipeline.data.sequences import Sequences, Standardisation, padded, standardise
from emotion_pipeline.emotions import EMOTIONS
from emotion_pipeline.errors import UserError
from emotion_pipeline.params import LstmParams, MlpParams, ModelParams, ScoresParams, SvmParams, TemporalParams
from emotion_pipeline.temporal.lstm import LSTMClassifier
from emotion_pipeline.temporal.perceptron import AudioPerceptron
from emotion_pipeline.temporal.pooling import POOLINGS
from emotion_pipeline.temporal.svm import LinearSvm, svm_scores

Row = Sequence[str | int | float]
Scored = tuple[Float[np.ndarray, " k"], Float[np.ndarray, " e"] | None]
"""Softmax scores of a clip, and its descriptor where the model has one."""

Scorer = Callable[[Float[np.ndarray, "t d"]], Scored]


@dataclass(frozen=True)
class TemporalModel:
    """What training has found: `inputs` is the width d of the features, `history` the rows of history.csv.

    `tensors`: those of the network or machine below `model.`, and `standardise.mean`, `.scale` where features are
    standardised.
    """

    params: TemporalParams
    inputs: int
    tensors: Mapping[str, np.ndarray] = field(default_factory=dict)
    history: tuple[Row, ...] = ()

    @property
    def scaling(self) -> Standardisation | None:
        """What standardises the features."""
        if "standardise.mean" not in self.tensors:
            return None
        return Standardisation(self.tensors["standardise.mean"], self.tensors["standardise.scale"])


def write_temporal_model(path: Path, model: TemporalModel) -> None:
    """Write a safetensors file that `read_temporal_model` reads back."""
    params = model.params.model_dump(mode="json")
    described = {"params": params, "inputs": model.inputs, "classes": EMOTIONS, "history": model.history}
    write_model(path, model.tensors, described)


def read_temporal_model(path: Path) -> TemporalModel:
    """Return the model of a file. Raises UserError for any other file."""
    tensors, described = read_model(path)
    try:
        params = TypeAdapter(TemporalParams).validate_python(described["params"])
        return TemporalModel(params, int(described["inputs"]), tensors, tuple(map(tuple, described["history"])))
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(f"{path}: not a temporal model of this pipeline ({error})") from error


def build(params: LstmParams | MlpParams, inputs: int) -> nn.Module:
    """Return the network of a model, untrained."""
    if isinstance(params, MlpParams):
        return AudioPerceptron(inputs, params.descriptor, len(EMOTIONS), params.dropout)
    sizes = (params.hidden, params.descriptor, len(EMOTIONS), params.layers)
    return LSTMClassifier(inputs, *sizes, params.bidirectional, params.dropout)


def run(network: nn.Module, features: Float[Tensor, "b t d"], lengths: Tensor) -> tuple[Tensor, Tensor]:
    """Return the descriptors (b, e) and the logits (b, k) of a batch; the perceptron reads one step."""
    return network(features[:, 0]) if isinstance(network, AudioPerceptron) else network(features, lengths)


def score_clips(model: TemporalModel, sequences: Sequences, device: torch.device) -> ScoreTable:
    """Return the scores of all clips; a clip without the modality has none.

    Each clip is scored by itself: its scores depend on no other clip. Raises UserError for features of another width.
    """
    if sequences.width != model.inputs:
        raise UserError(f"the features have {sequences.width} values a step, the model was trained on {model.inputs}")
    score, present = SCORERS[type(model.params)](model, device), sequences.lengths > 0
    scored = [score(sequences.arrays[i]) for i in np.flatnonzero(present)]
    described = [descriptor for _, descriptor in scored if descriptor is not None]
    return ScoreTable(
        sequences.clip_ids,
        _spread([scores for scores, _ in scored], present),
        present,
        _spread(described, present) if described else None,
    )


def _spread(rows: Sequence[np.ndarray], present: np.ndarray) -> Float[np.ndarray, "n d"]:
    """Return the rows of the clips that have the modality among rows of NaN."""
    everyone = np.full((len(present), len(rows[0])), np.nan, np.float32)
    everyone[present] = rows
    return everyone


def _network_scorer(model: TemporalModel, device: torch.device) -> Scorer:
    assert isinstance(model.params, LstmParams | MlpParams)
    network = build(model.params, model.inputs)
    state = {k.removeprefix("model."): torch.from_numpy(v) for k, v in model.tensors.items() if k.startswith("model.")}
    network.load_state_dict(state)
    network.to(device).eval()

    @torch.no_grad()
    def score(sequence: Float[np.ndarray, "t d"]) -> Scored:
        features, lengths = padded([standardise(sequence, model.scaling)])
        descriptor, logits = run(network, features.to(device), lengths.to(device))
        return logits.softmax(dim=1)[0].cpu().numpy(), descriptor[0].cpu().numpy()

    return score


def _svm_scorer(model: TemporalModel, device: torch.device) -> Scorer:
    svm = LinearSvm(*(model.tensors[f"model.{name}"] for name in ("weight", "bias", "classes")))
    return lambda sequence: (svm_scores(svm, standardise(sequence, model.scaling))[0], None)


def _pooling_scorer(model: TemporalModel, device: torch.device) -> Scorer:
    assert isinstance(model.params, ScoresParams)
    pool = POOLINGS[model.params.pooling]
    return lambda scores: (pool(scores), None)


SCORERS: dict[type[ModelParams], Callable[[TemporalModel, torch.device], Scorer]] = {
    ScoresParams: _pooling_scorer,
    LstmParams: _network_scorer,
    MlpParams: _network_scorer,
    SvmParams: _svm_scorer,
}
