"""The fusions that are networks, ModDrop and score trees: training on the descriptors of the temporal models."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn import functional as F

from emotion_pipeline.data.models import write_model
from emotion_pipeline.data.sequences import (
    Standardisation,
    both,
    bucketed,
    labelled_rows,
    standardisation_of,
    standardise,
)
from emotion_pipeline.emotions import EMOTIONS
from emotion_pipeline.errors import UserError
from emotion_pipeline.fusion.inputs import Inputs, Run
from emotion_pipeline.fusion.moddrop import ModDropFusion
from emotion_pipeline.fusion.score_tree import ScoreTree
from emotion_pipeline.params import GammaParams, ModDropParams, ScoreTreeParams
from emotion_pipeline.training.loop import Step, adamw, fit, found_on_val, history_rows, seed_torch, write_rows

NetworkParams = ModDropParams | ScoreTreeParams


class Batch(NamedTuple):
    """Standardised descriptors, scores and masks of some clips: what a network is called with."""

    descriptors: dict[str, Float[Tensor, "b _"]]
    scores: dict[str, Float[Tensor, "b k"]]
    present: Bool[Tensor, "b m"]

    def take(self, rows: Int[Tensor, " r"]) -> "Batch":
        """Some of the clips."""
        descriptors = {m: values[rows] for m, values in self.descriptors.items()}
        return Batch(descriptors, {m: values[rows] for m, values in self.scores.items()}, self.present[rows])


LabelledBatch = tuple[Batch, Int[Tensor, " b"]]


def gamma(params: GammaParams, epoch: int) -> float:
    """Factor of the cross-modality penalty in an epoch (0, 1, ...)."""
    return params.first * params.factor**epoch


@contextmanager
def one_thread() -> Iterator[None]:
    """Torch on one thread: what a network of a few thousand weights needs; more would only wait for each other.

    On two busy cores a fusion is trained 4 to 25 times as fast so.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@one_thread()
def fuse_network(run: Run, params: NetworkParams) -> Float[np.ndarray, "n k"]:
    """Train on train, stop on val (see `train.train_fusion`), and score every clip."""
    inputs = run.inputs
    for model in inputs.names:
        if model not in inputs.descriptors:
            raise UserError(f"models: {model} has no descriptor")
    train = labelled_rows(run.clips, "train", inputs.clip_ids, inputs.any_model)
    val = labelled_rows(run.clips, "val", inputs.clip_ids, inputs.any_model)
    epochs = params.fit.epochs
    if run.before is not None:
        train, epochs = both(train, val), int(found_on_val(run.before / "history.csv"))
    scaling = {m: _scaling(inputs, m, train[0]) for m in inputs.names}
    everyone = _tensors(inputs, scaling, run.device)
    seed_torch(run.seed)
    network = _build(params, {m: inputs.descriptors[m].shape[1] for m in inputs.names}).to(run.device)
    decayed = ("head",) if isinstance(params, ModDropParams) else ("features", "joined", "last")

    def batches(rows: np.ndarray, labels: np.ndarray, rng: np.random.Generator | None) -> list[LabelledBatch]:
        cut = bucketed(np.ones(len(rows), np.int64), params.fit.batch_clips, rng)
        return [(everyone.take(torch.from_numpy(rows[b])), torch.from_numpy(labels[b]).to(run.device)) for b in cut]

    history = fit(
        network,
        adamw(network, decayed, params.fit.learning_rate, params.fit.weight_decay),
        lambda batch, epoch: _step(network, params, batch, epoch),
        lambda epoch: batches(*train, np.random.default_rng((run.seed, epoch))),
        (lambda: batches(*val, None)) if run.before is None else None,
        epochs,
        params.fit.patience,
        checkpoint=run.checkpoint,
    )
    write_rows(run.out / "history.csv", history_rows(history))
    tensors = {f"model.{key}": value.cpu().numpy() for key, value in network.state_dict().items()}
    for model, by in scaling.items():
        tensors |= {f"standardise.{model}.mean": by.mean, f"standardise.{model}.scale": by.scale}
    write_model(run.out / "model.safetensors", tensors, {"model": run.name, "params": params.model_dump()})
    with torch.no_grad():
        return network(*everyone).softmax(dim=1).cpu().numpy()


def _scaling(inputs: Inputs, model: str, train: np.ndarray) -> Standardisation:
    values = inputs.descriptors[model][train[inputs.present[train, inputs.names.index(model)]]]
    return standardisation_of([values], values.shape[1])


def _build(params: NetworkParams, widths: Mapping[str, int]) -> ModDropFusion | ScoreTree:
    classes = len(EMOTIONS)
    if isinstance(params, ModDropParams):
        blocked = params.cross_modality == "blocked"
        return ModDropFusion(widths, params.hidden, classes, params.drop_probability, params.dropout, blocked)
    return ScoreTree(widths, classes, params.drop_probability, params.dropout, params.hidden)


def _step(network: ModDropFusion | ScoreTree, params: NetworkParams, batch: LabelledBatch, epoch: int) -> Step:
    """Cross-entropy; in training of ModDrop, gamma times the penalty is added, or the blocks are released in time."""
    clips, labels = batch
    extra: Tensor | float = 0.0
    if network.training and isinstance(network, ModDropFusion) and isinstance(params, ModDropParams):
        if params.cross_modality == "penalty":
            extra = gamma(params.gamma, epoch) * network.penalty()
        else:
            network.block(epoch < params.blocked_epochs)
    logits = network(*clips)
    loss = F.cross_entropy(logits, labels) + extra
    return Step(loss, len(labels), (logits.argmax(dim=1) == labels).sum())


def _tensors(inputs: Inputs, scaling: Mapping[str, Standardisation], device: str) -> Batch:
    """All clips."""

    def tensor(values: np.ndarray) -> Tensor:
        return torch.from_numpy(values).to(device)

    return Batch(
        {m: tensor(standardise(inputs.descriptors[m], scaling[m])) for m in inputs.names},
        {m: tensor(inputs.scores[:, i]) for i, m in enumerate(inputs.names)},
        tensor(inputs.present),
    )
