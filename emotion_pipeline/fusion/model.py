"""What is fused, scores and descriptors of several temporal models; and the scores that a fitted fusion gives."""

import hashlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Int

from emotion_pipeline.data.sequences import Standardisation, standardise
from emotion_pipeline.fusion import networks
from emotion_pipeline.fusion.networks import ModDropFusion, ScoreTree
from emotion_pipeline.fusion.scores import RULES, svm_inputs, weighted_mean
from emotion_pipeline.params import ModDropParams, RuleParams, ScoreTreeParams, SvmFusionParams, WeightedMeanParams
from emotion_pipeline.training.model import Model
from emotion_pipeline.training.svm import LinearSvm, svm_scores

Scores = Float[np.ndarray, "n k"]
Network = ModDropFusion | ScoreTree
NetworkParams = ModDropParams | ScoreTreeParams
Scaling = Mapping[str, Standardisation | None]

Batch = tuple[networks.Descriptors, networks.Scores, networks.Present]
"""What a fusion network is called with: standardised descriptors, scores and masks of some clips."""


@dataclass(frozen=True)
class Inputs:
    """What the temporal models say of the same n clips, sorted by clip id; NaN where a model is absent."""

    clip_ids: tuple[str, ...]
    names: tuple[str, ...]
    scores: Float[np.ndarray, "n m k"]
    present: Bool[np.ndarray, "n m"]
    descriptors: Mapping[str, Float[np.ndarray, "n _"]]  # of the models that have one

    def take(self, rows: Int[np.ndarray, " r"]) -> "Inputs":
        """Return the inputs of some of the clips."""
        ids = tuple(self.clip_ids[i] for i in rows)
        descriptors = {name: values[rows] for name, values in self.descriptors.items()}
        return Inputs(ids, self.names, self.scores[rows], self.present[rows], descriptors)

    def sha256(self) -> str:
        """Return a hash over all ids and numbers."""
        arrays = [self.scores, self.present, *(self.descriptors[name] for name in sorted(self.descriptors))]
        names = repr((self.clip_ids, self.names)).encode()
        return hashlib.sha256(names + b"".join(array.tobytes() for array in arrays)).hexdigest()

    @property
    def any_model(self) -> Bool[np.ndarray, " n"]:
        """Return of which clips some model says something."""
        return np.asarray(self.present.any(axis=1))


def fused_scores(model: Model, inputs: Inputs, device: torch.device) -> Scores:
    """Return the scores of every clip, NaN where no model is present; each clip's depend on no other clip."""
    return FUSERS[type(model.params)](model, inputs, device)


def build(params: NetworkParams, scaling: Scaling) -> Network:
    """Return the network of a fusion, untrained, for the models whose descriptors `scaling` standardises."""
    widths = {model: len(by.mean) for model, by in scaling.items() if by}
    if isinstance(params, ModDropParams):
        blocked = params.cross_modality == "blocked"
        return ModDropFusion(widths, params.hidden, params.drop_probability, params.dropout, blocked)
    return ScoreTree(widths, params.hidden, params.drop_probability, params.dropout)


def network_inputs(inputs: Inputs, scaling: Scaling, device: torch.device) -> Batch:
    """Return clips as a fusion network reads them."""
    tensor = lambda values: torch.from_numpy(values).to(device)  # noqa: E731
    descriptors = {m: tensor(standardise(inputs.descriptors[m], scaling[m])) for m in inputs.names}
    return descriptors, {m: tensor(inputs.scores[:, i]) for i, m in enumerate(inputs.names)}, tensor(inputs.present)


@contextmanager
def one_thread() -> Iterator[None]:
    """Let torch use one thread: on two busy cores, a network so small is trained 4 to 25 times as fast."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _by_svm(model: Model, inputs: Inputs, device: torch.device) -> Scores:
    svm = LinearSvm.of(model.tensors)
    scores = np.concatenate([svm_scores(svm, row[None]) for row in svm_inputs(inputs.scores, inputs.present)])
    return np.where(inputs.any_model[:, None], scores, np.nan)


@one_thread()
@torch.no_grad()
def _by_network(model: Model, inputs: Inputs, device: torch.device) -> Scores:
    scaling = {name: model.scaling(name) for name in inputs.names}
    network = model.load(build(model.params, scaling), device)
    clips = (network_inputs(inputs.take(np.array([i])), scaling, device) for i in range(len(inputs.clip_ids)))
    return torch.cat([network(*clip).softmax(dim=1) for clip in clips]).cpu().numpy()


FUSERS: dict[type, Callable[[Model, Inputs, torch.device], Scores]] = {
    RuleParams: lambda model, inputs, _: RULES[model.params.method](inputs.scores, inputs.present),
    WeightedMeanParams: lambda model, inputs, _: weighted_mean(inputs.scores, inputs.present, model.tensors["weights"]),
    SvmFusionParams: _by_svm,
    ModDropParams: _by_network,
    ScoreTreeParams: _by_network,
}
