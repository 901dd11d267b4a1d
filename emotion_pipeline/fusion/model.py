"""A fitted fusion as a record and a file, and the scores that it gives to clips."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from pydantic import TypeAdapter
from torch import Tensor

from emotion_pipeline.data.models import read_model, write_model
from emotion_pipeline.data.sequences import Standardisation, standardise
from emotion_pipeline.emotions import EMOTIONS
from emotion_pipeline.errors import UserError
from emotion_pipeline.fusion.inputs import Inputs
from emotion_pipeline.fusion.moddrop import ModDropFusion
from emotion_pipeline.fusion.score_tree import ScoreTree
from emotion_pipeline.fusion.scores import RULES, svm_inputs, weighted_mean
from emotion_pipeline.params import (
    FusionParams,
    ModDropParams,
    RuleParams,
    ScoreTreeParams,
    Section,
    SvmFusionParams,
    WeightedMeanParams,
)
from emotion_pipeline.temporal.svm import LinearSvm, svm_scores

Row = Sequence[str | int | float]
Scores = Float[np.ndarray, "n k"]
NetworkParams = ModDropParams | ScoreTreeParams


@dataclass(frozen=True)
class FusionModel:
    """What fitting has found: tensors by name, and the rows of history.csv."""

    params: FusionParams
    tensors: Mapping[str, np.ndarray] = field(default_factory=dict)
    history: tuple[Row, ...] = ()


class Batch(NamedTuple):
    """Standardised descriptors, scores and masks of some clips: what a fusion network is called with."""

    descriptors: dict[str, Float[Tensor, "b _"]]
    scores: dict[str, Float[Tensor, "b k"]]
    present: Bool[Tensor, "b m"]

    def take(self, rows: Int[Tensor, " r"]) -> "Batch":
        """Return some of the clips."""
        descriptors = {m: values[rows] for m, values in self.descriptors.items()}
        return Batch(descriptors, {m: values[rows] for m, values in self.scores.items()}, self.present[rows])


def write_fusion_model(path: Path, model: FusionModel) -> None:
    """Write a safetensors file that `read_fusion_model` reads back."""
    described = {"params": model.params.model_dump(mode="json"), "classes": EMOTIONS, "history": model.history}
    write_model(path, model.tensors, described)


def read_fusion_model(path: Path) -> FusionModel:
    """Return the fusion of a file. Raises UserError for any other file."""
    tensors, described = read_model(path)
    try:
        params = TypeAdapter(FusionParams).validate_python(described["params"])
        return FusionModel(params, tensors, tuple(map(tuple, described["history"])))
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(f"{path}: not a fusion of this pipeline ({error})") from error


def fused_scores(model: FusionModel, inputs: Inputs, device: torch.device) -> Scores:
    """Return the scores of every clip, NaN where no model is present; each clip's depend on no other clip."""
    return FUSERS[type(model.params)](model, inputs, device)


def build(params: NetworkParams, widths: Mapping[str, int]) -> ModDropFusion | ScoreTree:
    """Return the network of a fusion, untrained; `widths`: descriptor size by model."""
    if isinstance(params, ModDropParams):
        blocked = params.cross_modality == "blocked"
        return ModDropFusion(widths, params.hidden, len(EMOTIONS), params.drop_probability, params.dropout, blocked)
    return ScoreTree(widths, len(EMOTIONS), params.drop_probability, params.dropout, params.hidden)


def network_inputs(inputs: Inputs, scaling: Mapping[str, Standardisation], device: torch.device) -> Batch:
    """Return all clips as a fusion network reads them."""

    def tensor(values: np.ndarray) -> Tensor:
        return torch.from_numpy(values).to(device)

    return Batch(
        {m: tensor(standardise(inputs.descriptors[m], scaling[m])) for m in inputs.names},
        {m: tensor(inputs.scores[:, i]) for i, m in enumerate(inputs.names)},
        tensor(inputs.present),
    )


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


def _by_rule(model: FusionModel, inputs: Inputs, device: torch.device) -> Scores:
    assert isinstance(model.params, RuleParams)
    return RULES[model.params.method](inputs.scores, inputs.present)


def _by_weights(model: FusionModel, inputs: Inputs, device: torch.device) -> Scores:
    return weighted_mean(inputs.scores, inputs.present, model.tensors["weights"])


def _by_svm(model: FusionModel, inputs: Inputs, device: torch.device) -> Scores:
    svm = LinearSvm(model.tensors["weight"], model.tensors["bias"], model.tensors["classes"])
    scores = np.concatenate([svm_scores(svm, row[None]) for row in svm_inputs(inputs.scores, inputs.present)])
    return np.where(inputs.any_model[:, None], scores, np.nan)


@one_thread()
def _by_network(model: FusionModel, inputs: Inputs, device: torch.device) -> Scores:
    assert isinstance(model.params, NetworkParams)
    scaling = {
        m: Standardisation(model.tensors[f"standardise.{m}.mean"], model.tensors[f"standardise.{m}.scale"])
        for m in inputs.names
    }
    network = build(model.params, {m: len(scaling[m].mean) for m in inputs.names})
    state = {k.removeprefix("model."): torch.from_numpy(v) for k, v in model.tensors.items() if k.startswith("model.")}
    network.load_state_dict(state)
    network.to(device).eval()
    everyone = network_inputs(inputs, scaling, device)
    with torch.no_grad():
        rows = [network(*everyone.take(torch.tensor([i]))).softmax(dim=1) for i in range(len(inputs.clip_ids))]
    return torch.cat(rows).cpu().numpy()


FUSERS: dict[type[Section], Callable[[FusionModel, Inputs, torch.device], Scores]] = {
    RuleParams: _by_rule,
    WeightedMeanParams: _by_weights,
    SvmFusionParams: _by_svm,
    ModDropParams: _by_network,
    ScoreTreeParams: _by_network,
}
