"""What smoothing takes away, jitter and true motion: the table and figure of docs/smoothing.md.

    python -m benchmarks.smoothing ../shared/clips [data/raw/sample] [figure.svg]

Jitter is measured on real clips (every 12th Javanese one and three of clips/wild), in the seconds in which the nose
stays within 6 % of the distance of the outer eye corners: mean second difference of dlib's landmarks over that
distance. True motion is that of the sample's true landmarks, and a head shaken by a quarter of that distance to either
side, two and three times a second: how far smoothing moves them, over that distance.
"""

import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import cv2
import matplotlib as mpl
import numpy as np
import torch
from matplotlib.figure import Figure

from emotion_pipeline.data.artifact import read_array, write_artifact
from emotion_pipeline.faces.detect import detect_clip
from emotion_pipeline.faces.landmarks import align_clip
from emotion_pipeline.faces.link import choose_track, link_boxes
from emotion_pipeline.faces.quality import eye_distance
from emotion_pipeline.faces.track import smooth
from emotion_pipeline.params import load_params
from emotion_pipeline.weights.fetch import files_of

WIDTHS = (0.5, 1.0, 1.5, 2.0, 3.0, 4.0)
FPS = 25
STILL = 0.06
LIDS = [37, 38, 43, 44]

Sequence = tuple[np.ndarray, np.ndarray]
"""Frames (t,), landmarks (t, 68, 2)."""
Filter = Callable[[np.ndarray, np.ndarray, float], np.ndarray]


def polynomial(degree: int) -> Filter:
    """A weighted fit of this degree, frame by frame: 0 is the running Gaussian mean."""

    def fit(landmarks: np.ndarray, frame: np.ndarray, sigma: float) -> np.ndarray:
        flat = landmarks.reshape(len(frame), -1).astype(float)
        out = np.empty_like(flat)
        for i in range(len(frame)):
            near = np.abs(frame - frame[i]) <= np.ceil(4 * sigma)
            offset = (frame[near] - frame[i]).astype(float)
            root = np.exp(-0.25 * (offset / sigma) ** 2)[:, None]
            powers = np.vander(offset, min(degree, len(offset) - 1) + 1, increasing=True)
            out[i] = np.linalg.lstsq(powers * root, flat[near] * root, rcond=None)[0][0]
        return out.reshape(landmarks.shape)

    return fit


def exponential(landmarks: np.ndarray, frame: np.ndarray, sigma: float) -> np.ndarray:
    """One-sided: what is usual where frames come live."""
    kept, out = np.exp(-1 / sigma), landmarks.astype(float).copy()
    for i in range(1, len(out)):
        out[i] = kept * out[i - 1] + (1 - kept) * landmarks[i]
    return out


FILTERS: dict[str, Filter] = {
    "parabola (here)": smooth,
    "line": polynomial(1),
    "mean": polynomial(0),
    "one-sided exponential": exponential,
}


def real(clips: Path) -> list[Sequence]:
    """Landmarks of the longest track of some real clips, as the stages find them."""
    params, found = load_params(), list[Sequence]()
    detector, predictor = files_of(params.detect.detector), files_of(params.align.predictor)
    videos = sorted((clips / "javanese").glob("*.mp4"))[::12]
    videos += [clips / "wild" / name for name in ("single_face.mp4", "WolfgangLanger_Pexels.mp4", "bbaf2n.mpg")]
    with tempfile.TemporaryDirectory() as folder:
        boxes, landmarks = Path(folder) / "detect.h5", Path(folder) / "align.h5"
        for video in videos:
            write_artifact(boxes, "clip", detect_clip([video, *detector], params.detect, params.runtime))
            files = [video, boxes, *predictor]
            write_artifact(landmarks, "clip", align_clip(files, params.align, params.runtime))
            box, frame = read_array(boxes, "boxes"), read_array(boxes, "frame")
            track = link_boxes(box, frame, np.zeros(frame[-1] + 1, int), params.track)
            mine = track == choose_track(box, track)[0]
            found.append((frame[mine], read_array(landmarks, "landmarks")[mine]))
    return found


def truth(sample: Path) -> list[Sequence]:
    """True landmarks of every sixth generated clip."""
    files = sorted((sample / "truth").glob("*.h5"))[::6]
    found = [(read_array(file, "frame"), read_array(file, "landmarks")) for file in files]
    return [sequence for sequence in found if len(sequence[0]) > 12]


def still(frame: np.ndarray, landmarks: np.ndarray) -> np.ndarray:
    """Which frames belong to a second in which the nose stays where it is."""
    nose, mask = polynomial(1)(landmarks[:, 27:36].mean(axis=1), frame, 2.0), np.zeros(len(frame), bool)
    for i in range(len(frame) - FPS + 1):
        window = slice(i, i + FPS)
        if frame[i + FPS - 1] - frame[i] == FPS - 1:
            mask[window] |= np.ptp(nose[window], axis=0).max() < STILL * np.median(eye_distance(landmarks))
    return mask


def jitter(sequences: list[Sequence], masks: list[np.ndarray], smoothed: list[np.ndarray]) -> float:
    """Over all still frames that have neighbours; `smoothed`: the landmarks that are judged."""
    parts = []
    for (frame, landmarks), mask, own in zip(sequences, masks, smoothed, strict=True):
        second = np.linalg.norm(own[2:] - 2 * own[1:-1] + own[:-2], axis=-1).mean(axis=1)
        parts.append((second / eye_distance(landmarks)[1:-1])[mask[1:-1] & (frame[2:] - frame[:-2] == 2)])
    return float(np.concatenate(parts).mean())


def shaken(face: np.ndarray, hertz: float) -> Sequence:
    """A face moved to and fro without noise, for four seconds."""
    frame = np.arange(4 * FPS)
    x = 0.25 * eye_distance(face[None]) * np.sin(2 * np.pi * hertz * frame / FPS)
    return frame, face + np.stack([x, 0 * x], axis=1)[:, None]


def moved(sequences: list[Sequence], own: Filter, sigma: float) -> np.ndarray:
    """How far each landmark moves, over the distance of the eyes, (frames, 68)."""
    parts = [
        np.linalg.norm(own(landmarks, frame, sigma) - landmarks, axis=-1) / eye_distance(landmarks)[:, None]
        for frame, landmarks in sequences
    ]
    return np.concatenate(parts)


def main() -> None:
    """Print the table, draw the figure."""
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    clips, sample = Path(sys.argv[1]), Path(sys.argv[2] if len(sys.argv) > 2 else "data/raw/sample")
    found, true = real(clips), truth(sample)
    masks = [still(*sequence) for sequence in found]
    before = jitter(found, masks, [landmarks for _, landmarks in found])
    face = true[0][1][0].astype(float)
    print(f"{sum(m.sum() for m in masks)} still of {sum(map(len, masks))} real frames, jitter {100 * before:.2f} %")
    print(
        "| filter | width | jitter, % | of before | truth moved, % | 99th percentile | most | eyelids | 2 Hz | 3 Hz |"
    )
    print("|---|---|---|---|---|---|---|---|---|---|")
    curves: dict[str, list[tuple[float, float]]] = {name: [] for name in FILTERS}
    for name, own in FILTERS.items():
        for sigma in WIDTHS:
            after = jitter(found, masks, [own(landmarks, frame, sigma) for frame, landmarks in found])
            far = 100 * moved(true, own, sigma)
            shakes = [100 * moved([shaken(face, hertz)], own, sigma)[FPS:-FPS].mean() for hertz in (2.0, 3.0)]
            curves[name].append((after / before, shakes[0]))
            cells = [100 * after, after / before, far.mean(), np.percentile(far, 99), far.max(), far[:, LIDS].mean()]
            print(
                f"| {name} | {sigma:g} | " + " | ".join(f"{cell:.2f}" for cell in [*cells, *shakes]) + " |", flush=True
            )
    if len(sys.argv) > 3:
        draw(Path(sys.argv[3]), curves, found[-2])


def draw(target: Path, curves: dict[str, list[tuple[float, float]]], example: Sequence) -> None:
    """The trade-off of every filter, and one landmark over time."""
    colours = ("#1f5a8c", "#7a8794", "#b9c2cb", "#b4652a")
    figure = Figure(figsize=(8.6, 3.1), layout="constrained")
    left, right = figure.subplots(1, 2)
    for (name, points), colour in zip(curves.items(), colours, strict=True):
        left.plot(*zip(*points, strict=True), "o-", color=colour, markersize=3, label=name)
    left.plot(*curves["parabola (here)"][WIDTHS.index(1.5)], "o", color=colours[0], markersize=9, fillstyle="none")
    left.axhline(2, color="#d5dbe1", linewidth=1)
    left.axvline(0.5, color="#d5dbe1", linewidth=1)
    left.set(xlabel="jitter left, of before", ylabel="head shaken at 2 Hz moved, %")
    left.set(xlim=(0, 1), ylim=(0, 10))
    left.legend(frameon=False, fontsize=8)
    frame, landmarks = example[0][:60], example[1][:60]
    right.plot(frame, landmarks[:, 39, 0], ".", color="#7a8794", markersize=4, label="as found")
    right.plot(frame, smooth(landmarks, frame, 1.5)[:, 39, 0], color=colours[0], label="smoothed, width 1.5")
    right.set(xlabel="frame", ylabel="x of an inner eye corner, pixels")
    right.legend(frameon=False, fontsize=8)
    for axes in (left, right):
        axes.spines[["top", "right"]].set_visible(False)
    mpl.rcParams["svg.hashsalt"] = "smoothing"
    figure.savefig(target, metadata={"Date": None})


if __name__ == "__main__":
    main()
