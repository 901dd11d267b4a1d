"""Equation 1 on clips in which only one window shows the emotion: does weighting the windows help?

    python -m benchmarks.window_weights [OUT_DIR]

Generated faces, as those of the sample data set. Every clip has six windows of 16 frames. In one of them, at random,
the face shows happiness, surprise or sadness; in the five others it speaks, and is neutral. As in section 2.4 the
network does not start at random: it has learnt disgust, fear, anger and no expression from other people. From there C3D
is trained in three ways: from all windows alike, weighted by equation 1, and from the best-scoring window alone
(multiple-instance learning); per seed on the same clips. The people of val are in no clip of train. A clip of val is
scored by its best window, as section 3.2.2 scores the weighted C3D, and beside it by the mean over its windows.
Prints a table in Markdown and writes `window_weights.png` into OUT_DIR (docs).
"""

import os
import sys
import tempfile
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import lru_cache, partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any, NamedTuple
from unittest.mock import patch

import cv2
import numpy as np
import torch
from jaxtyping import Float, UInt8
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter
from numpy.random import Generator

from emotion_pipeline.data.artifact import Artifact, write_artifact
from emotion_pipeline.emotions import EMOTIONS
from emotion_pipeline.faces.crops import FACE_SIDE, encode_jpeg, read_faces
from emotion_pipeline.features import finetune
from emotion_pipeline.features.c3d import C3D, WINDOW
from emotion_pipeline.features.network import describe, prepared
from emotion_pipeline.features.weights import save_network
from emotion_pipeline.features.windows import window_weights
from emotion_pipeline.params import FinetuneC3dParams, load_params
from emotion_pipeline.sample.expression import APEX, open_mouth
from emotion_pipeline.sample.performer import performer
from emotion_pipeline.sample.scene import Actor, background, camera, draw, head_motion
from emotion_pipeline.training.loop import Epoch, fit

SHOWN, LEARNT_BEFORE = ("happy", "surprise", "sad"), ("disgust", "fear", "angry", "neutral")
TRAIN_CLIPS, VAL_CLIPS, WINDOWS = 30, 20, 6
"""Clips of each emotion in train and in val, windows of a clip."""

BEFORE_CLIPS, BEFORE_EPOCHS = {"train": 60, "val": 15}, 25
"""Clips of one window of each emotion learnt before, and epochs over those of train."""

SEEDS = (1, 2, 3)
EPOCHS, UNIFORM_EPOCHS, LAST = 12, 3, 3
RATE_BEFORE, RATE = 0.001, 0.0005
TEMPERATURE = {"temperature_first": 1.0, "temperature_factor": 0.85, "temperature_last": 0.5}
"""Weights from p to its square; the table's numbers are means over the `LAST` epochs."""

SIDE, DIFFICULTY = 112, 0.3
"""Pixels of a side of the drawn picture; how much people, light and camera differ, as in `sample.difficulty`."""

SCORES = {
    "maximum": "accuracy, clips scored by their best window",
    "mean": "accuracy, clips scored by the mean over windows",
    "weight": "weight of the window that shows the class",
}
"""What is measured after every epoch, by the name of its field in `Course`."""

WAYS = {"all": "uniform", "weighted": "weighted (equation 1)", "maximum": "best window alone"}
COLOURS = {"all": "#7a8794", "weighted": "#1f5a8c", "maximum": "#c4742b"}


class Course(NamedTuple):
    """What a training gave in each epoch: accuracy over the clips of val by two scores, weight of the true window."""

    mean: list[float]  # a clip is scored by the mean over its windows
    maximum: list[float]  # by the highest score over its windows
    weight: list[float]


class Clips(NamedTuple):
    """Track file -> class, and the window of each that shows the class."""

    labels: dict[Path, int]
    shown: dict[Path, int]


def drawn(emotion: str, number: int, windows: int, shown: int, rng: Generator) -> UInt8[np.ndarray, "t 224 224 3"]:
    """Faces of person `number`, who speaks, and shows the emotion in one window."""
    frames, x = windows * WINDOW, np.arange(WINDOW)
    person = performer(number, DIFFICULTY, np.random.default_rng(number))
    curve = np.zeros(frames)
    curve[shown * WINDOW : (shown + 1) * WINDOW] = np.minimum(np.minimum(x, WINDOW - 1 - x) / 4, 1)
    units = curve[:, None] * np.clip(person.strength * person.style * APEX[EMOTIONS.index(emotion)], 0, 1.35)
    speech = np.clip(0.3 + 0.3 * np.sin(np.arange(frames) / rng.uniform(1.5, 4) + rng.uniform(0, 6)), 0, 1)
    open_mouth(units, speech)
    place = head_motion(frames, person, (SIDE / 2, SIDE / 2), 0.95, rng)
    who = Actor(person, units, place, np.ones(frames, bool))
    room, photographed = background(SIDE, SIDE, rng), camera(frames, DIFFICULTY, rng)
    pictures = (photographed(draw(room, who, frame)[0], frame) for frame in range(frames))
    return np.stack([cv2.resize(picture, (FACE_SIDE, FACE_SIDE)) for picture in pictures])


def make_clips(
    folder: Path, emotions: Sequence[str], per_emotion: int, windows: int, first: int, rng: Generator
) -> Clips:
    """Files as stage `track` writes them; each of the people, from number `first` on, shows all the emotions."""
    clips = Clips({}, {})
    for i in range(per_emotion * len(emotions)):
        path, emotion, shown = folder / f"clip_{i:03}.h5", emotions[i % len(emotions)], int(rng.integers(windows))
        faces = drawn(emotion, first + i // len(emotions), windows, shown, rng)
        arrays = {"frame": np.arange(len(faces), dtype=np.int32)}
        write_artifact(path, path.stem, Artifact(arrays, pieces=encode_jpeg(faces)))
        clips.labels[path], clips.shown[path] = EMOTIONS.index(emotion), shown
    return clips


def learnt_before(folder: Path) -> Path:
    """Weights of a network that knows faces in motion, but none of the emotions in question."""
    rng = np.random.default_rng(0)
    train, val = (
        make_clips(folder / f"before_{part}", LEARNT_BEFORE, BEFORE_CLIPS[part], 1, first, rng).labels
        for part, first in (("train", 2000), ("val", 3000))
    )
    changes = {"epochs": BEFORE_EPOCHS, "patience": BEFORE_EPOCHS, "learning_rate": RATE_BEFORE}
    params = parameters("all", 1).model_copy(update=changes)
    network, history = finetune.finetune_c3d(train, val, params, load_params().runtime)
    print(f"before: {max(row.val_accuracy for row in history):.2f} of val", file=sys.stderr)
    network.fc8.reset_parameters()  # its classes are others from here on, as after Sports-1M
    file = folder / "network.safetensors"
    save_network(file, network)
    return file


def train(way: str, seed: int, learnt: Clips, val: Clips, start: Path) -> Course:
    """Fine-tune from the weights `start`, and look at the network after every epoch."""
    course, weights = Course([], [], []), list[np.ndarray]()
    read = lru_cache(len(val.labels))(partial(read_faces, pixels=112))

    def recorded(s: np.ndarray, heat: float) -> np.ndarray:
        weights.append(window_weights(s, heat))
        return weights[-1]

    def watched(network: Any, optimizer: Any, step: Any, batches: Any, validate: Any, *rest: Any) -> list[Epoch]:
        def look() -> Iterable[finetune.Batch]:
            mean, maximum = accuracies(network, val, read)
            course.mean.append(mean)
            course.maximum.append(maximum)
            course.weight.append(weight_of_shown(weights, learnt))
            weights.clear()
            return validate()

        return fit(network, optimizer, step, batches, look, *rest)

    one = dict(list(val.labels.items())[:1])  # the loop's own validation: measured here instead
    with patch.object(finetune, "fit", watched), patch.object(finetune, "window_weights", recorded):
        finetune.finetune_c3d(learnt.labels, one, parameters(way, seed), load_params().runtime, start)
    return course


def parameters(way: str, seed: int) -> FinetuneC3dParams:
    """The sample's, for a short training that is not stopped early."""
    changes = {"windows": way, "seed": seed, "overlap": 0, "weights": None, "epochs": EPOCHS}
    changes |= {"patience": EPOCHS, "learning_rate": RATE, "uniform_epochs": UNIFORM_EPOCHS} | TEMPERATURE
    return load_params().finetune_c3d["weighted"].model_copy(update=changes)


def accuracies(network: C3D, val: Clips, read: Callable[[Path], np.ndarray]) -> tuple[float, float]:
    """Of clips scored by the mean and by the maximum over their windows."""
    right = []
    for path, label in val.labels.items():
        faces = read(path)
        windows = faces.reshape(WINDOWS, WINDOW, *faces.shape[1:])
        scores = describe(network, prepared(network, [windows]), True)[1]
        right.append((scores.mean(axis=0).argmax() == label, scores.max(axis=0).argmax() == label))
    mean, maximum = np.mean(right, axis=0)
    return float(mean), float(maximum)


def weight_of_shown(weights: list[np.ndarray], clips: Clips) -> float:
    """Mean over the clips, in whose order the last weights were given; 1/w where there were none."""
    own = weights[-len(clips.shown) :]
    return float(np.mean([w[j] for w, j in zip(own, clips.shown.values(), strict=True)])) if own else 1 / WINDOWS


def print_table(courses: dict[str, list[Course]]) -> None:
    """In Markdown: each number is the mean (lowest to highest) over the seeds of the mean over the last epochs."""
    print(f"{len(SEEDS)} seeds, each {VAL_CLIPS * len(SHOWN)} clips of val, last {LAST} of {EPOCHS} epochs")
    print(f"\n| windows | {' | '.join(SCORES.values())} |\n|---|---|---|---|")
    for way, runs in courses.items():
        cells = [100 * np.array([getattr(run, name)[-LAST:] for run in runs]).mean(axis=1) for name in SCORES]
        print(f"| {WAYS[way]} | " + " | ".join(f"{c.mean():.0f} % ({c.min():.0f}-{c.max():.0f})" for c in cells) + " |")
    best = {way: 100 * np.array([run.maximum for run in runs]) for way, runs in courses.items()}
    ahead = best["weighted"] - best["all"]
    print(f"\nweighted - uniform, points, by their best window: by seed {ahead[:, -LAST:].mean(axis=1).round(1)}")
    print(f"by epoch, mean over the seeds {ahead.mean(axis=0).round(1)}")


def plot(courses: dict[str, list[Course]], path: Path) -> None:
    """By epoch: accuracies, weight of the window that shows the class; mean and range over the seeds."""
    figure = Figure(figsize=(12, 3.8), layout="constrained")
    for axes, (name, title) in zip(figure.subplots(1, len(SCORES)), SCORES.items(), strict=True):
        for way, runs in courses.items():
            _curve(axes, way, 100 * np.array([getattr(run, name) for run in runs]))
        even, what = (WINDOWS, "1 / w: all windows alike") if name == "weight" else (len(SHOWN), "chance")
        axes.axhline(100 / even, color="grey", linestyle=":", label=what)
        axes.axvline(UNIFORM_EPOCHS + 0.5, color="#d5dbe1", zorder=0)
        axes.set(title=title, xlabel="epoch", ylim=(0, 102), xlim=(1, EPOCHS))
        axes.title.set_fontsize(10)
        axes.yaxis.set_major_formatter(PercentFormatter())
        axes.spines[["top", "right"]].set_visible(False)
        axes.legend(frameon=False, fontsize=8, loc="upper right" if name == "weight" else "lower right")
    figure.savefig(path, dpi=110)


def _curve(axes: Axes, way: str, values: Float[np.ndarray, "s e"]) -> None:
    epochs = np.arange(1, values.shape[1] + 1)
    axes.plot(epochs, values.mean(axis=0), color=COLOURS[way], label=WAYS[way])
    axes.fill_between(epochs, values.min(axis=0), values.max(axis=0), color=COLOURS[way], alpha=0.15, linewidth=0)


def train_and_val(folder: Path, seed: int) -> tuple[Clips, Clips]:
    """The clips of one seed."""
    parts = (("train", TRAIN_CLIPS, 100 * seed), ("val", VAL_CLIPS, 1000 + 100 * seed))
    learnt, val = (
        make_clips(folder / f"{part}_{seed}", SHOWN, clips, WINDOWS, first, np.random.default_rng([seed, i]))
        for i, (part, clips, first) in enumerate(parts)
    )
    return learnt, val


def main(folder: Path) -> None:
    """Run all trainings, one on each core, with one thread: the same bits with any number of cores. Print and draw."""
    cores = len(os.sched_getaffinity(0))
    pool = ProcessPoolExecutor(cores, get_context("spawn"), torch.set_num_threads, (1,))
    with tempfile.TemporaryDirectory() as name, pool:
        start = pool.submit(learnt_before, Path(name))
        clips = list(pool.map(partial(train_and_val, Path(name)), SEEDS))
        trainings = {
            way: [pool.submit(train, way, seed, *own, start.result()) for seed, own in zip(SEEDS, clips, strict=True)]
            for way in WAYS
        }
        courses = {way: [training.result() for training in own] for way, own in trainings.items()}
    print_table(courses)
    plot(courses, folder / "window_weights.png")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path("docs"))
