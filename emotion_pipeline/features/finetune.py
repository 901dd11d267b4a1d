"""Fine-tuning the two face networks for the seven emotions: sections 2.3 and 2.4 of the paper."""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import lru_cache, partial
from itertools import starmap
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int, UInt8
from torch import Tensor, nn

from emotion_pipeline.emotions import EMOTIONS
from emotion_pipeline.faces.crops import read_faces
from emotion_pipeline.features.c3d import C3D, window_frames, window_starts
from emotion_pipeline.features.network import FaceNetwork, describe, normalise_on, prepared
from emotion_pipeline.features.stills import Still, batches
from emotion_pipeline.features.vgg_face import VGGFace
from emotion_pipeline.features.weights import starting_network
from emotion_pipeline.features.windows import (
    CLIPS_AT_ONCE,
    WINDOWS,
    Window,
    frame_counts,
    temperature_of,
    window_batches,
    window_weights,
)
from emotion_pipeline.metrics import accuracy, confusion, uar
from emotion_pipeline.params import FinetuneC3dParams, FinetuneVggParams, RuntimeParams
from emotion_pipeline.training.device import device_of
from emotion_pipeline.training.loop import Epoch, Step, adamw, fit, mean_step, seed_torch

WARM_UP = 10
"""Steps over which the learning rate rises: without normalisation layers, large first steps end the learning."""

LARGEST_GRADIENT = 5.0
"""Norm to which larger gradients are shortened."""

LR_SCHEDULES: dict[str, Callable[[float], float]] = {
    "constant": lambda done: 1.0,
    "cosine": lambda done: (1 + math.cos(math.pi * done)) / 2,
}
"""Factor of the learning rate when this part of the epochs is done."""

AT_ONCE = 16
"""Faces or windows in memory together where no gradient is kept: a clip can have any number of them."""


class Batch(NamedTuple):
    """Pictures, or windows of pictures, as uint8 RGB; class and weight of each. Weights average 1 over an epoch."""

    faces: UInt8[np.ndarray, "b *t h w 3"]
    labels: Int[np.ndarray, " b"]
    weights: Float[np.ndarray, " b"] | float = 1.0


def finetune_vgg(
    train: Sequence[Still],
    held_out: Sequence[Still],
    params: FinetuneVggParams,
    runtime: RuntimeParams,
    weights: Path | None = None,
    checkpoint: Path | None = None,
) -> tuple[VGGFace, list[Epoch]]:
    """Train VGG-Face for the seven classes on still faces; `weights` is where it starts (None: at random).

    Section 2.3: jitter of scale, rotation and flip, dropout before the last layer; early stop on the held-out part.
    `checkpoint`: see `training.fit`.
    """
    network = starting_vgg(params, weights)
    pixels = network.preprocessing.pixels

    def train_batches(epoch: int) -> Iterator[Batch]:
        rng = np.random.default_rng([params.seed, epoch])
        return starmap(Batch, batches(train, params.batch_images, pixels, params.jitter, rng))

    def held_out_batches() -> Iterator[Batch]:
        return starmap(Batch, batches(held_out, params.batch_images, pixels))

    return network, _fit(network, params, runtime, weights, checkpoint, mean_step, train_batches, held_out_batches)


def starting_vgg(params: FinetuneVggParams, weights: Path | None) -> VGGFace:
    """Return VGG-Face before its fine-tuning. Raises UserError as `weights.starting_network`."""
    seed_torch(params.seed)
    network = starting_network(VGGFace, params.width, params.dropout, weights, params.pixels)
    network.preprocessing = replace(network.preprocessing, grey=params.grey or network.preprocessing.grey)
    return network


def accuracy_rows(
    network: VGGFace, parts: Mapping[str, Sequence[Still]], runtime: RuntimeParams
) -> list[Sequence[str | int | float]]:
    """Return a header, then per part of the pictures: name, number, accuracy, UAR, and the recall of each class."""
    rows: list[Sequence[str | int | float]] = [("part", "n", "accuracy", "uar", *EMOTIONS)]
    network.to(device_of(runtime.device)).eval()
    for name, part in sorted(parts.items()):
        pictures = (faces for faces, _ in batches(part, AT_ONCE, network.preprocessing.pixels))
        predicted = describe(network, prepared(network, pictures), relu=True)[1].argmax(axis=1)
        labels = np.array([still.label for still in part])
        right = confusion(labels, predicted)
        recall = (np.diag(right) / np.maximum(right.sum(axis=1), 1)).tolist()
        rows.append((name, len(predicted), accuracy(labels, predicted), uar(labels, predicted), *recall))
    return rows


def finetune_c3d(
    train: Mapping[Path, int],
    val: Mapping[Path, int],
    params: FinetuneC3dParams,
    runtime: RuntimeParams,
    weights: Path | None = None,
    checkpoint: Path | None = None,
) -> tuple[C3D, list[Epoch]]:
    """Train C3D for the seven classes on windows of face sequences; `train` and `val`: track file -> class.

    Section 2.4. `params.windows` says which windows of a clip are learnt from: the `central` one, one at `random`,
    `all`, or `weighted`: all alike for `uniform_epochs`, then weighted by equation 1 with the scores that the network,
    without dropout, gives them at the start of each epoch. `maximum`: the best-scoring window alone, from the first
    epoch on: the multiple-instance learning that section 2.4 names for comparison. A clip of val is scored by the mean
    over its windows. `checkpoint`: see `training.fit`.
    """
    seed_torch(params.seed)
    network = starting_network(C3D, params.width, params.dropout, weights)
    read = lru_cache(CLIPS_AT_ONCE)(partial(read_faces, pixels=network.preprocessing.pixels))
    frames, val_frames = frame_counts(train, "train"), frame_counts(val, "val")

    def train_batches(epoch: int) -> Iterator[Batch]:
        rng = np.random.default_rng([params.seed, epoch])
        temperature = temperature_of(params, epoch)
        clips = []
        for path, n in frames.items():
            windows = window_frames(n, WINDOWS[params.windows](n, params.overlap, rng))
            shares = np.ones(len(windows))
            if temperature is not None:
                s = negative_log_scores(network, read(path)[windows], train[path])
                shares = window_weights(s, temperature)
            clips.append([Window(path, train[path], f, w) for f, w in zip(windows, shares, strict=True) if w != 0])
        # weights by equation 1 sum to 1 over a clip: times the mean number of windows, they average 1 over the epoch
        scale = 1.0 if temperature is None else sum(map(len, clips)) / len(clips)
        for faces, labels, shares in window_batches(clips, read, params.batch_windows, params.flip, rng):
            yield Batch(faces, labels, shares * scale)

    def val_batches() -> Iterator[Batch]:
        for path, n in val_frames.items():
            faces = read(path)[window_frames(n, window_starts(n, params.overlap))]
            yield Batch(faces, np.full(len(faces), val[path]))

    return network, _fit(network, params, runtime, weights, checkpoint, _mean_of_windows, train_batches, val_batches)


@torch.no_grad()
def negative_log_scores(
    network: FaceNetwork, windows: UInt8[np.ndarray, "w t h w2 3"], label: int
) -> Float[np.ndarray, " w"]:
    """Return s of equation 1 for each window of a video of class `label`; the network is left in its mode."""
    training = network.training
    network.eval()
    logits = _logits(network, windows, AT_ONCE)
    network.train(training)
    return -logits.log_softmax(dim=1)[:, label].double().cpu().numpy()


def _fit(
    network: FaceNetwork,
    params: FinetuneVggParams | FinetuneC3dParams,
    runtime: RuntimeParams,
    weights: Path | None,
    checkpoint: Path | None,
    validate: Callable[[Tensor, Int[Tensor, " b"]], Step],
    train_batches: Callable[[int], Iterable[Batch]],
    val_batches: Callable[[], Iterable[Batch]],
) -> list[Epoch]:
    network.to(device_of(runtime.device))
    if weights is None:
        normalise_on(network, next(prepared(network, (batch.faces for batch in train_batches(0)))))
    optimizer = adamw(network, [""], params.learning_rate, params.weight_decay)
    optimizer.register_step_pre_hook(partial(_shorten_gradients, network))

    def step(batch: Batch, epoch: int) -> Step:
        logits = _logits(network, batch.faces, len(batch.faces) if network.training else AT_ONCE)
        labels = torch.from_numpy(batch.labels).to(logits.device)
        if not network.training:
            return validate(logits, labels)
        _set_rate(optimizer, params.learning_rate * LR_SCHEDULES[params.lr_schedule](epoch / params.epochs))
        weights = torch.as_tensor(batch.weights).to(logits)
        loss = (weights * F.cross_entropy(logits, labels, reduction="none")).mean()
        return Step(loss, len(labels), (logits.argmax(1) == labels).sum())

    return fit(network, optimizer, step, train_batches, val_batches, params.epochs, params.patience, True, checkpoint)


def _shorten_gradients(network: nn.Module, *_: object) -> None:
    nn.utils.clip_grad_norm_(network.parameters(), LARGEST_GRADIENT)


def _set_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """Set the learning rate of the next step: `rate`, less in the warm-up. A checkpoint keeps the number of steps."""
    for group in optimizer.param_groups:
        group["steps"] = group.get("steps", 0) + 1
        group["lr"] = rate * min(1.0, group["steps"] / WARM_UP)


def _mean_of_windows(logits: Float[Tensor, "b k"], labels: Int[Tensor, " b"]) -> Step:
    """Return the loss of one clip, whose windows are the batch: its score is the mean of theirs."""
    scores = logits.softmax(dim=1).mean(dim=0)
    return Step(-scores[labels[0]].clamp_min(1e-12).log(), 1, (scores.argmax() == labels[0]).long())


def _logits(network: FaceNetwork, faces: UInt8[np.ndarray, "n *t h w 3"], at_once: int) -> Float[Tensor, "n k"]:
    parts = (faces[i : i + at_once] for i in range(0, len(faces), at_once))
    return torch.cat([network(inputs)[1] for inputs in prepared(network, parts)])
