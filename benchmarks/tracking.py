"""Identity switches, fragments and the chosen person on generated clips: the table and figure of docs/tracking.md.

    python -m benchmarks.tracking [seeds] [figure.svg]

People cross, meet, are hidden, leave, are cut to (benchmarks/crossings.py). Tracks are made of the true boxes with
noise and drop-outs, and of what the detector of params.yaml finds in the pictures; and, for comparison, by a linker
that takes for each box in turn the nearest track. Boxes are matched with the truth as in CLEAR MOT (Bernardin and
Stiefelhagen 2008): overlap of at least one half, keeping the pairs of the frame before. A switch: a person goes on
with another track, and one of the two tracks holds somebody else, too. A fragment: a person goes on with another
track, no one else being mixed in.
"""

import os
import sys
import tempfile
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import astuple, dataclass
from functools import partial
from itertools import pairwise
from multiprocessing import get_context
from pathlib import Path

import cv2
import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure
from numpy.random import Generator
from scipy.optimize import linear_sum_assignment

from benchmarks.crossings import SHOWN, Clip, clips, crossing
from emotion_pipeline.data.media import frames
from emotion_pipeline.faces.detect import detect_clip
from emotion_pipeline.faces.frames import box_centres, box_iou, box_sides
from emotion_pipeline.faces.link import choose_track, link_boxes, shots
from emotion_pipeline.faces.overlay import colour_of
from emotion_pipeline.params import Params, TrackParams, load_params
from emotion_pipeline.sample.generate import write_movie
from emotion_pipeline.weights.fetch import files_of

MATCH = 0.5
NOISE, DROPPED, DRAWS = 0.03, 0.05, 8
"""Of the true boxes: standard deviation of centre and size, in sides; share left out; how often both are drawn."""

Link = Callable[[np.ndarray, np.ndarray, np.ndarray, TrackParams], np.ndarray]


@dataclass(frozen=True)
class Boxes:
    """What is linked: boxes, their frames, the shot of every frame."""

    boxes: np.ndarray
    frame: np.ndarray
    shot: np.ndarray


@dataclass(frozen=True)
class Score:
    """Of one clip, or a sum."""

    switches: int
    fragments: int
    right: int  # 1 where the chosen track is that of the person visible longest


def detected(clip: Clip, params: Params) -> Boxes:
    """What the stages find in the clip's video."""
    with tempfile.TemporaryDirectory() as folder:
        video = Path(folder) / "clip.mp4"
        write_movie(video, clip.pictures, None, 0)
        files = files_of(params.detect.detector)
        found = detect_clip([video, *files], params.detect, params.runtime).arrays
        return Boxes(found["boxes"], found["frame"], shots(frames(video), params.track.cut_threshold))


def noisy(clip: Clip, rng: Generator) -> Boxes:
    """The true boxes of visible faces, disturbed."""
    kept = (clip.visible >= SHOWN) & (rng.uniform(size=len(clip.boxes)) >= DROPPED)
    boxes, sides = clip.boxes[kept], box_sides(clip.boxes[kept])[:, None]
    centre = box_centres(boxes) + NOISE * sides * rng.normal(size=(len(boxes), 2))
    half = (boxes[:, 2:] - boxes[:, :2]) / 2 * np.exp(NOISE * rng.normal(size=(len(boxes), 1)))
    rows = np.column_stack([centre - half, centre + half, rng.uniform(0.5, 1, len(boxes))]).astype(np.float32)
    order = np.lexsort([-rows[:, 4], clip.frame[kept]])
    return Boxes(rows[order], clip.frame[kept][order], clip.shot)


def nearest(boxes: np.ndarray, frame: np.ndarray, shot: np.ndarray, params: TrackParams) -> np.ndarray:
    """The comparison: each box in turn goes to the nearest track that is free, alive and within reach."""
    track, last = np.full(len(boxes), -1, np.int32), dict[int, int]()
    for row in range(len(boxes)):
        near = {
            t: float(np.linalg.norm(box_centres(boxes[[k]]) - box_centres(boxes[[row]])) / box_sides(boxes[[row]])[0])
            for t, k in last.items()
            if 0 < frame[row] - frame[k] <= params.max_gap_frames + 1 and shot[frame[k]] == shot[frame[row]]
        }
        best = min(near, key=lambda t: near[t], default=-1)
        track[row] = best if best >= 0 and near[best] <= params.max_distance else max(last, default=-1) + 1
        last[int(track[row])] = row
    return track


def matched(clip: Clip, seen: Boxes, track: np.ndarray) -> np.ndarray:
    """The track that each row of the truth is matched with, -1 for none."""
    of, before = np.full(len(clip.boxes), -1), dict[int, int]()
    for number in np.unique(clip.frame):
        true, found = np.flatnonzero(clip.frame == number), np.flatnonzero(seen.frame == number)
        overlap = box_iou(clip.boxes[true], seen.boxes[found].astype(float))
        kept = [[before.get(int(clip.person[a])) == track[b] for b in found] for a in true]
        worth = np.where(overlap >= MATCH, overlap + 10 * np.array(kept, bool).reshape(overlap.shape), 0)
        for a, b in zip(*linear_sum_assignment(-worth), strict=True):
            if worth[a, b]:
                of[true[a]] = before[int(clip.person[true[a]])] = int(track[found[b]])
    return of


def score(clip: Clip, seen: Boxes, track: np.ndarray) -> Score:
    """Compare tracks with the truth."""
    of = matched(clip, seen, track)
    who = list(zip(clip.person.tolist(), clip.shot[clip.frame].tolist(), strict=True))
    mixed = {
        t for t in set(of.tolist()) - {-1} if len({w for w, o in zip(who, of.tolist(), strict=True) if o == t}) > 1
    }
    changes = [
        {a, b}
        for person in np.unique(clip.person)
        for a, b in pairwise(of[(clip.person == person) & (of >= 0)].tolist())
        if a != b
    ]
    switches = sum(bool(change & mixed) for change in changes)
    people = np.unique(clip.person)
    mine = [(clip.person == person) & (clip.visible >= SHOWN) for person in people]
    longest = people[max(range(len(people)), key=lambda k: (mine[k].sum(), box_sides(clip.boxes[mine[k]]).sum()))]
    votes = clip.person[of == choose_track(seen.boxes, track)[0]]
    right = len(votes) > 0 and np.bincount(votes).argmax() == longest
    return Score(switches, len(changes) - switches, int(right))


def total(clip: Clip, draws: Sequence[Boxes], link: Link, params: TrackParams) -> Score:
    """Sum over the draws."""
    scores = [astuple(score(clip, seen, link(seen.boxes, seen.frame, seen.shot, params))) for seen in draws]
    return Score(*np.sum(scores, axis=0).tolist())


def measure(seed: int) -> list[tuple[str, float, list[Score]]]:
    """Kind, overlap and scores (true boxes, detected boxes; each linked, each nearest) of every clip of a seed.

    Those of the true boxes are sums over all draws of the noise.
    """
    cv2.setNumThreads(1)
    params, rows = load_params(), []
    for number, (_, make) in enumerate(clips([seed])):
        rng = np.random.default_rng([seed, number])
        clip = make(params.sample, rng)
        seen = [[noisy(clip, rng) for _ in range(DRAWS)], [detected(clip, params)]]
        links: list[Link] = [link_boxes, nearest]
        scores = [total(clip, draws, link, params.track) for draws in seen for link in links]
        rows.append((clip.kind, clip.overlap, scores))
    return rows


def draw(target: Path, params: Params) -> None:
    """Where two people who pass each other are, and the tracks found, over time."""
    clip = partial(crossing, speed=12.0, aim=0.6)(params.sample, np.random.default_rng(5))
    seen = detected(clip, params)
    figure = Figure(figsize=(8.6, 2.9), layout="constrained")
    for axes, link, title in zip(
        figure.subplots(1, 2, sharey=True),
        (link_boxes, nearest),
        ("assigned together, with motion", "nearest"),
        strict=True,
    ):
        track = link(seen.boxes, seen.frame, seen.shot, params.track)
        for person in np.unique(clip.person):
            mine = clip.person == person
            axes.plot(clip.frame[mine], box_centres(clip.boxes[mine])[:, 0], color="#c4cbd2", linewidth=7, zorder=0)
        for number in np.unique(track):
            mine, colour = track == number, np.array(colour_of(int(number))) / 255 * 0.8
            axes.plot(seen.frame[mine], box_centres(seen.boxes[mine])[:, 0], ".", markersize=4, color=colour)
            axes.annotate(f"track {number}", (seen.frame[mine][0], box_centres(seen.boxes[mine])[0, 0]), fontsize=8,
                          textcoords="offset points", xytext=(3, 9), color=colour)  # fmt: skip
        axes.set_title(title, fontsize=9, loc="left")
        axes.set_xlabel("frame")
        axes.spines[["top", "right"]].set_visible(False)
    figure.axes[0].set_ylabel("x of the face, pixels")
    mpl.rcParams["svg.hashsalt"] = "tracking"
    figure.savefig(target, metadata={"Date": None})


def table(rows: Sequence[tuple[str, float, list[Score]]]) -> str:
    """Sums by kind of clip; below them the sums over all clips up to and above half overlap."""
    kinds = {kind: [r for r in rows if r[0] == kind] for kind in sorted({row[0] for row in rows})}
    low, high = [r for r in rows if r[1] <= MATCH], [r for r in rows if r[1] > MATCH]
    kinds |= {"**all, overlap up to 0.5**": low, "**all, overlap above 0.5**": high}
    lines = ["| clips | n |" + " switches | fragments | right |" * 4, "|---|---|" + "---|---|---|" * 4]
    for kind, own in kinds.items():
        sums = np.array([[astuple(s) for s in scores] for _, _, scores in own]).sum(axis=0)
        lines.append(f"| {kind} | {len(own)} | " + " | ".join(map(str, sums.ravel().tolist())) + " |")
    return "\n".join(lines)


def main() -> None:
    """Print the table, draw the figure."""
    os.environ["OMP_NUM_THREADS"] = "1"
    seeds = range(1, 1 + int(sys.argv[1] if len(sys.argv) > 1 else 3))
    with ProcessPoolExecutor(2, get_context("spawn")) as pool:
        rows = [row for part in pool.map(measure, seeds) for row in part]
    print("columns: true boxes with noise, linked here; by nearest; detected boxes, linked here; by nearest")
    print(table(rows))
    if len(sys.argv) > 2:
        draw(Path(sys.argv[2]), load_params())


if __name__ == "__main__":
    main()
