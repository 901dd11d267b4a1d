"""The scores that a fitted fusion gives to clips."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from emotion_pipeline.data.sequences import Standardisation, standardise
from emotion_pipeline.emotions import EMOTIONS
from emotion_pipeline.fusion.inputs import Inputs
from emotion_pipeline.fusion.moddrop import ModDropFusion
from emotion_pipeline.fusion.score_tree import ScoreTree
from emotion_pipeline.fusion.scores import RULES, svm_inputs, weighted_mean
from emotion_pipeline.params import (
    ModDropParams,
    RuleParams,
    ScoreTreeParams,
    Section,
    SvmFusionParams,
    WeightedMeanParams,
)
from emotion_pipeline.temporal.svm import LinearSvm, svm_scores
from emotion_pipeline.training.model import Model

Scores = Float[np.ndarray, "n k"]
NetworkParams = ModDropParams | ScoreTreeParams
Scaling = Mapping[str, Standardisation | None]


class Batch(NamedTuple):
    """Standardised descriptors, scores and masks of some clips: what a fusion network is called with."""

    descriptors: dict[str, Float[Tensor, "b _"]]
    scores: dict[str, Float[Tensor, "b k"]]
    present: Bool[Tensor, "b m"]

    def take(self, rows: Int[Tensor, " r"]) -> "Batch":
        """Return some of the clips."""
        descriptors = {m: values[rows] for m, values in self.descriptors.items()}
        return Batch(descriptors, {m: values[rows] for m, values in self.scores.items()}, self.present[rows])


def fused_scores(model: Model, inputs: Inputs, device: torch.device) -> Scores:
    """Return the scores of every clip, NaN where no model is present; each clip's depend on no other clip."""
    return FUSERS[type(model.params)](model, inputs, device)


def build(params: NetworkParams, widths: Mapping[str, int]) -> ModDropFusion | ScoreTree:
    """Return the network of a fusion, untrained; `widths`: descriptor size by model."""
    if isinstance(params, ModDropParams):
        blocked = params.cross_modality == "blocked"
        return ModDropFusion(widths, params.hidden, len(EMOTIONS), params.drop_probability, params.dropout, blocked)
    return ScoreTree(widths, len(EMOTIONS), params.drop_probability, params.dropout, params.hidden)


def network_inputs(inputs: Inputs, scaling: Scaling, device: torch.device) -> Batch:
    """Return all clips as a fusion network reads them."""
    tensor = lambda values: torch.from_numpy(values).to(device)  # noqa: E731
    descriptors = {m: tensor(standardise(inputs.descriptors[m], scaling[m])) for m in inputs.names}
    scores = {m: tensor(inputs.scores[:, i]) for i, m in enumerate(inputs.names)}
    return Batch(descriptors, scores, tensor(inputs.present))


@contextmanager
def one_thread() -> Iterator[None]:
    """Let torch use one thread: what a network of a few thousand weights needs; more would only wait for each other.

    On two busy cores a fusion is trained 4 to 25 times as fast so.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _by_rule(model: Model, inputs: Inputs, device: torch.device) -> Scores:
    return RULES[model.params.method](inputs.scores, inputs.present)


def _by_weights(model: Model, inputs: Inputs, device: torch.device) -> Scores:
    return weighted_mean(inputs.scores, inputs.present, model.tensors["weights"])


def _by_svm(model: Model, inputs: Inputs, device: torch.device) -> Scores:
    svm = LinearSvm.of(model.tensors)
    scores = np.concatenate([svm_scores(svm, row[None]) for row in svm_inputs(inputs.scores, inputs.present)])
    return np.where(inputs.any_model[:, None], scores, np.nan)


@one_thread()
def _by_network(model: Model, inputs: Inputs, device: torch.device) -> Scores:
    scaling = {name: model.scaling(name) for name in inputs.names}
    network = build(model.params, {name: len(by.mean) for name, by in scaling.items() if by})
    network.load_state_dict(model.state())
    network.to(device).eval()
    everyone = network_inputs(inputs, scaling, device)
    with torch.no_grad():
        rows = [network(*everyone.take(torch.tensor([i]))).softmax(dim=1) for i in range(len(inputs.clip_ids))]
    return torch.cat(rows).cpu().numpy()


FUSERS: dict[type[Section], Callable[[Model, Inputs, torch.device], Scores]] = {
    RuleParams: _by_rule,
    WeightedMeanParams: _by_weights,
    SvmFusionParams: _by_svm,
    ModDropParams: _by_network,
    ScoreTreeParams: _by_network,
}
