"""How much of the network's own speed the training loop of `finetune_vgg` reaches.

    python -m benchmarks.finetune_rate [repetitions]

Pictures per second, for the network of params/fer2013.yaml, of (a) the training loop, with everything it does between
its first batch and its last: decode, jitter, normalise, forward, backward, shorten gradients, update; (b) forward and
backward alone, on ready batches of the same shape. In turns, with the first batches of both left out; the loop's
validation and set-up lie outside its time. Prints the ratio (a) / (b): its median and range.
"""

import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest.mock import patch

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from numpy.random import Generator

from emotion_pipeline.emotions import EMOTIONS
from emotion_pipeline.faces.crops import FACE_SIDE, JPEG
from emotion_pipeline.features import finetune
from emotion_pipeline.features.stills import Still
from emotion_pipeline.params import Params, load_params
from emotion_pipeline.training.device import device_of
from emotion_pipeline.training.loop import Epoch, fit

BATCHES, WARM_UP, READY = 20, 2, 4
"""Batches of a measurement, those of them that are left out of its time, and ready batches, used in turn."""


def stills(count: int, rng: Generator) -> list[Still]:
    """Textured pictures as the aligned stills are: grey, 224 x 224, enlarged from fewer pixels, JPEG."""
    encoded = []
    for _ in range(count):
        coarse = rng.normal(128, 50, (48, 48)).clip(0, 255).astype(np.uint8)
        picture = cv2.resize(coarse, (FACE_SIDE, FACE_SIDE), interpolation=cv2.INTER_CUBIC)
        encoded.append(cv2.imencode(".jpg", cv2.merge([picture] * 3), JPEG)[1].tobytes())
    labels = rng.integers(len(EMOTIONS), size=count).tolist()
    return [Still("", picture, label) for picture, label in zip(encoded, labels, strict=True)]


def loop_rate(train: list[Still], held_out: list[Still], params: Params) -> float:
    """One epoch of the training loop."""
    times: list[float] = []

    def timed(network: Any, optimizer: Any, step: Any, train_batches: Any, *rest: Any) -> list[Epoch]:
        def watched(epoch: int) -> Iterator[finetune.Batch]:
            for batch in train_batches(epoch):
                yield batch
                times.append(now())  # the loop asks for the next batch: it has done with this one

        return fit(network, optimizer, step, watched, *rest)

    with patch.object(finetune, "fit", timed):
        finetune.finetune_vgg(train, held_out, params.finetune_vgg, params.runtime)
    return rate(times, params.finetune_vgg.batch_images)


def pure_rate(params: Params) -> float:
    """Forward and backward on ready batches, in turn: float, normalised, channels last, where the network is."""
    settings, device = params.finetune_vgg, device_of(params.runtime.device)
    network = finetune.starting_vgg(settings, None).to(device).train()
    shape = (READY, settings.batch_images, 3, settings.pixels, settings.pixels)
    inputs = [batch.contiguous(memory_format=torch.channels_last) for batch in torch.randn(shape, device=device)]
    labels = torch.randint(len(EMOTIONS), (settings.batch_images,), device=device)
    times = []
    for i in range(BATCHES):
        network.zero_grad()
        F.cross_entropy(network(inputs[i % READY])[1], labels).backward()
        times.append(now())
    return rate(times, settings.batch_images)


def rate(times: list[float], batch: int) -> float:
    """Pictures per second, from the times at which their batches were done."""
    return batch * (len(times) - WARM_UP) / (times[-1] - times[WARM_UP - 1])


def now() -> float:
    """Time in seconds, when the device has done all its work."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter()


def main(repetitions: int) -> None:
    """Print the rates of every repetition, and the ratio."""
    params, rng, ratios = load_params(Path("params/fer2013.yaml")), np.random.default_rng(0), []
    params = params.model_copy(update={"finetune_vgg": params.finetune_vgg.model_copy(update={"epochs": 1})})
    train = stills(params.finetune_vgg.batch_images * BATCHES, rng)
    print("| repetition | loop (pictures / s) | forward and backward (pictures / s) | ratio |\n|---|---|---|---|")
    for i in range(repetitions):
        loop, pure = loop_rate(train, train.part(np.arange(8)), params), pure_rate(params)
        ratios.append(loop / pure)
        print(f"| {i + 1} | {loop:.1f} | {pure:.1f} | {ratios[-1]:.2f} |", flush=True)
    print(f"\nratio: median {np.median(ratios):.2f}, {min(ratios):.2f} to {max(ratios):.2f}, n = {repetitions}")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 5)
