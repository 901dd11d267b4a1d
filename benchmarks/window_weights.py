"""Equation 1 on clips in which only one window shows the emotion: does weighting the windows help?

    python -m benchmarks.window_weights [OUT_DIR]

Every clip has five windows of 16 frames. One of them, at random, shows the class: a disc crosses the picture, along a
row that tells the class. In the four others a disc stands still, in a row drawn anew for each: they tell nothing.
C3D learns from the clips of three classes in three ways: from all windows alike, weighted by equation 1, and from the
best-scoring window alone (multiple-instance learning); per seed on the same clips, from the same random start.
Prints a table in Markdown and writes `window_weights.png` into OUT_DIR (docs).
"""

import sys
import tempfile
from collections.abc import Callable, Iterable
from functools import lru_cache, partial
from pathlib import Path
from typing import Any, NamedTuple
from unittest.mock import patch

import cv2
import numpy as np
from jaxtyping import Float, UInt8
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter
from numpy.random import Generator

from emotion_pipeline.faces.crops import encode_jpeg, read_faces
from emotion_pipeline.faces.warp import FACE_SIDE
from emotion_pipeline.features import finetune
from emotion_pipeline.features.c3d import C3D, WINDOW
from emotion_pipeline.features.network import describe, prepared
from emotion_pipeline.features.windows import window_weights
from emotion_pipeline.params import FinetuneC3dParams, TemperatureParams, load_params
from emotion_pipeline.store import Artifact, write_artifact
from emotion_pipeline.training import Epoch, fit

CLASSES, TRAIN_CLIPS, VAL_CLIPS, WINDOWS = 3, 10, 10, 5
"""Classes, clips of each in train and in val, windows of a clip."""

SEEDS = (1, 2, 3)
EPOCHS, UNIFORM_EPOCHS, LAST = 12, 4, 3
TEMPERATURE = TemperatureParams(first=1.0, factor=0.85, last=0.5)
"""Weights from p to its square; the table's numbers are means over the `LAST` epochs."""

SIDE, NOISE, CONTRAST = 56, 25.0, 50.0
"""Pixels of a side of the generated picture before it is enlarged; grey values."""

SCORES = {
    "mean": "accuracy, clips scored by the mean over windows",
    "maximum": "accuracy, clips scored by their best window",
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


def window(row: float, columns: Float[np.ndarray, "16"], rng: Generator) -> UInt8[np.ndarray, "16 224 224 3"]:
    """A disc at these places (0 to 1) of each frame on a noisy ground."""
    y, x = np.mgrid[:SIDE, :SIDE] / SIDE
    disc = (y - row) ** 2 + (x - columns[:, None, None]) ** 2 < 0.1**2
    pictures = 110 + CONTRAST * disc[..., None] + rng.normal(0, NOISE, (WINDOW, SIDE, SIDE, 3))
    small = pictures.clip(0, 255).astype(np.uint8)
    return np.stack([cv2.resize(p, (FACE_SIDE, FACE_SIDE), interpolation=cv2.INTER_NEAREST) for p in small])


def shown_window(label: int, rng: Generator) -> UInt8[np.ndarray, "16 224 224 3"]:
    """A disc crosses the picture, to the left or to the right, along the row of its class."""
    return window(_row(label, rng), np.linspace(0.1, 0.9, WINDOW)[:: rng.choice([-1, 1])], rng)


def other_window(rng: Generator) -> UInt8[np.ndarray, "16 224 224 3"]:
    """A disc stands still, in any row."""
    return window(_row(int(rng.integers(CLASSES)), rng), np.full(WINDOW, rng.uniform(0.1, 0.9)), rng)


def _row(label: int, rng: Generator) -> float:
    return float((label + 0.5) / CLASSES + rng.uniform(-0.06, 0.06))


def make_clips(folder: Path, per_class: int, rng: Generator) -> Clips:
    """Files as stage `track` writes them."""
    clips = Clips({}, {})
    for i in range(per_class * CLASSES):
        path, label, shown = folder / f"clip_{i:03}.h5", i % CLASSES, int(rng.integers(WINDOWS))
        windows = [shown_window(label, rng) if j == shown else other_window(rng) for j in range(WINDOWS)]
        faces = np.concatenate(windows)
        arrays = {"frame": np.arange(len(faces), dtype=np.int32)}
        write_artifact(path, path.stem, Artifact(arrays, pieces=encode_jpeg(faces)))
        clips.labels[path], clips.shown[path] = label, shown
    return clips


def train(way: str, seed: int, learnt: Clips, val: Clips) -> Course:
    """Fine-tune from a random start, and look at the network after every epoch."""
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
        finetune.finetune_c3d(learnt.labels, one, parameters(way, seed), load_params().runtime)
    return course


def parameters(way: str, seed: int) -> FinetuneC3dParams:
    """The project's, for a small and short training that is not stopped early."""
    changes = {"windows": way, "seed": seed, "overlap": 0, "weights": None, "width": 0.03125, "epochs": EPOCHS}
    changes |= {"patience": EPOCHS, "uniform_epochs": UNIFORM_EPOCHS, "temperature": TEMPERATURE}
    return load_params().finetune_c3d["weighted"].model_copy(update=changes)


def accuracies(network: C3D, val: Clips, read: Callable[[Path], np.ndarray]) -> tuple[float, float]:
    """Of clips scored by the mean and by the maximum over their windows."""
    right = np.zeros((len(val.labels), 2))
    for i, (path, label) in enumerate(val.labels.items()):
        faces = read(path)
        windows = faces.reshape(WINDOWS, WINDOW, *faces.shape[1:])
        scores = describe(network, prepared(network, [windows]), True)[1]
        right[i] = [scores.mean(axis=0).argmax() == label, scores.max(axis=0).argmax() == label]
    mean, maximum = right.mean(axis=0)
    return float(mean), float(maximum)


def weight_of_shown(weights: list[np.ndarray], clips: Clips) -> float:
    """Mean over the clips, in whose order the last weights were given; 1/w where there were none."""
    own = weights[-len(clips.shown) :]
    shown = clips.shown.values()
    return float(np.mean([w[j] for w, j in zip(own, shown, strict=True)])) if own else 1 / WINDOWS


def print_table(courses: dict[str, list[Course]]) -> None:
    """In Markdown: each number is the mean (lowest to highest) over the seeds of the mean over the last epochs."""
    print(f"{len(SEEDS)} seeds, {VAL_CLIPS * CLASSES} clips of val, chance {100 / CLASSES:.0f} %, last {LAST} epochs")
    print(f"\n| windows | {' | '.join(SCORES.values())} |\n|---|---|---|---|")
    for way, runs in courses.items():
        cells = [100 * np.array([getattr(run, name)[-LAST:] for run in runs]).mean(axis=1) for name in SCORES]
        print(f"| {WAYS[way]} | " + " | ".join(f"{c.mean():.0f} % ({c.min():.0f}-{c.max():.0f})" for c in cells) + " |")


def draw(courses: dict[str, list[Course]], path: Path) -> None:
    """By epoch: accuracies, weight of the window that shows the class; mean and range over the seeds."""
    figure = Figure(figsize=(12, 3.8), layout="constrained")
    for axes, (name, title) in zip(figure.subplots(1, len(SCORES)), SCORES.items(), strict=True):
        for way, runs in courses.items():
            _curve(axes, way, 100 * np.array([getattr(run, name) for run in runs]))
        even, what = (WINDOWS, "1 / w: all windows alike") if name == "weight" else (CLASSES, "chance")
        axes.axhline(100 / even, color="grey", linestyle=":", label=what)
        axes.axvline(UNIFORM_EPOCHS + 0.5, color="#d5dbe1", zorder=0)
        axes.set(title=title, xlabel="epoch", ylim=(0, 102), xlim=(1, EPOCHS))
        axes.title.set_fontsize(10)
        axes.yaxis.set_major_formatter(PercentFormatter())
        axes.spines[["top", "right"]].set_visible(False)
        axes.legend(frameon=False, fontsize=8, loc="lower right")
    figure.savefig(path, dpi=110)


def _curve(axes: Axes, way: str, values: Float[np.ndarray, "s e"]) -> None:
    epochs = np.arange(1, values.shape[1] + 1)
    axes.plot(epochs, values.mean(axis=0), color=COLOURS[way], label=WAYS[way])
    axes.fill_between(epochs, values.min(axis=0), values.max(axis=0), color=COLOURS[way], alpha=0.15, linewidth=0)


def main(folder: Path) -> None:
    """Run all trainings, print and draw."""
    courses: dict[str, list[Course]] = {way: [] for way in WAYS}
    for seed in SEEDS:
        rng = np.random.default_rng(seed)
        with tempfile.TemporaryDirectory() as temporary:
            learnt = make_clips(Path(temporary) / "train", TRAIN_CLIPS, rng)
            val = make_clips(Path(temporary) / "val", VAL_CLIPS, rng)
            for way, runs in courses.items():
                runs.append(train(way, seed, learnt, val))
    print_table(courses)
    draw(courses, folder / "window_weights.png")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path("docs"))
