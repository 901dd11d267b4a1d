"""Which boxes of a clip are the same person: cuts between shots, and linking over time, several people at once."""

from collections import deque
from collections.abc import Iterable
from itertools import compress

import cv2
import numpy as np
from jaxtyping import Float, Float32, Int, Int32, Int64
from scipy.ndimage import rank_filter
from scipy.optimize import linear_sum_assignment

from emotion_pipeline.faces.frames import Frame, box_centres, box_distance, box_iou
from emotion_pipeline.params import TrackParams

GRID, CELL = 4, 16  # cells along each side of the frame, pixels along each side of a cell after shrinking
SPIKE = 3.0  # a cut changes the frame by more than so many times what the frames before and after it change
LIGHT, DIM = 0.4, 0.3  # mean value of a frame below which the threshold falls with it, to no less than this share
BLACK = 0.01  # mean value (0 to 1) below which a frame is black: it belongs to no shot of others

Layout = Float32[np.ndarray, "cells 3 values"]

VELOCITY_BOXES = 5  # the last boxes of a track from which its present motion is taken
KEPT = 0.8  # of a velocity, each frame: who turns back, seen or not, is not sought where he would have gone
PATIENCE = 0.1  # cost of each frame without a box: of two tracks that both want one, that which was just seen gets it


def colour_layout(frame: Frame) -> Layout:
    """Return the values (0 to 1) of each colour in each cell of a coarse grid, sorted: what is where, roughly."""
    small = cv2.resize(frame, (GRID * CELL, GRID * CELL), interpolation=cv2.INTER_AREA)
    cells = small.reshape(GRID, CELL, GRID, CELL, 3).transpose(0, 2, 4, 1, 3).reshape(GRID**2, 3, CELL**2)
    return np.sort(cells, axis=-1).astype(np.float32) / 255


def shots(frames: Iterable[Frame], threshold: float) -> Int64[np.ndarray, " t"]:
    """Return the number of the shot that each frame belongs to, from 0.

    A shot ends where `colour_layout` changes by more than `threshold` (0 to 1; less in the dark: `LIGHT`) from one
    frame to the next in at least half of the cells, and far more than around (`SPIKE`), which fast motion and rising
    light do not; and where frames become black or are no longer. A cell's change is the earth mover's distance
    between its histograms: motion inside it does not count, nor does somebody who comes into a part of the frame.
    A single frame whose neighbours are alike, as in the light of a flash, ends no shot.
    """
    last, rows = deque[Layout](maxlen=2), list[tuple[float, float, float]]()
    for frame in frames:
        layout = colour_layout(frame)
        from_last = _change(last[-1], layout) if last else 0.0
        from_last_but_one = _change(last[0], layout) if len(last) == 2 else np.inf
        rows.append((from_last, from_last_but_one, float(layout.mean())))
        last.append(layout)
    step, leap, level = np.array([*rows, (0.0, np.inf, 0.0)]).T
    least = threshold * np.clip(np.maximum(level, np.roll(level, 1)) / LIGHT, DIM, 1)
    # the second largest of the two steps before and the two after: the largest may be a cut
    around = rank_filter(step, -2, footprint=[1, 1, 0, 1, 1], mode="constant")
    cut = (step > least) & (step > SPIKE * around) & (np.minimum(leap, np.roll(leap, -1)) > least)
    cut[1:] |= np.diff(level < BLACK)
    return np.cumsum(cut[:-1], dtype=np.int64)


def _change(before: Layout, after: Layout) -> float:
    return float(np.median(np.abs(after - before).mean(axis=(1, 2))))


def link_boxes(
    boxes: Float[np.ndarray, "n 5"], frame: Int[np.ndarray, " n"], shot: Int[np.ndarray, " t"], params: TrackParams
) -> Int32[np.ndarray, " n"]:
    """Return the track of each box, numbered from 0 in the order in which the tracks begin.

    `frame` rises; `shot` gives the shot of every frame of the video up to the last box. A track goes on with the
    box nearest to where its motion leads, all tracks and boxes of a frame being assigned at once (section 2.1:
    "tracking based on their relative positions"). It ends after `max_gap_frames` frames without a box, and at a cut.
    """
    track = np.full(len(boxes), -1, np.int32)
    begun, alive = 0, list[list[int]]()
    numbers, starts = np.unique(frame, return_index=True)
    for number, rows in zip(numbers.tolist(), np.split(np.arange(len(boxes)), starts[1:]), strict=False):
        last = frame[[t[-1] for t in alive]]
        missing = number - last - 1
        going_on = (missing <= params.max_gap_frames) & (shot[last] == shot[number])
        alive, missing = list(compress(alive, going_on)), missing[going_on]
        expected = np.array([_expected(boxes[t], frame[t], number) for t in alive]).reshape(-1, 4)
        for known, new in assign(expected, boxes[rows], params, PATIENCE * missing):
            track[rows[new]] = track[alive[known][-1]]
            alive[known] = [*alive[known], rows[new]][-VELOCITY_BOXES:]
        for row in rows[track[rows] < 0]:
            track[row] = begun
            begun += 1
            alive.append([row])
    return track


def _expected(boxes: Float[np.ndarray, "n 5"], frame: Int[np.ndarray, " n"], number: int) -> Float[np.ndarray, " 4"]:
    """Return the last box, moved on to frame `number` at the mean velocity of the boxes, which fades (`KEPT`)."""
    centres = box_centres(boxes)
    velocity = (centres[-1] - centres[0]) / max(frame[-1] - frame[0], 1)
    steps = (KEPT ** np.arange(1, number - frame[-1] + 1)).sum()
    return boxes[-1, :4] + np.tile(velocity * steps, 2)


def assign(
    known: Float[np.ndarray, "n _"],
    new: Float[np.ndarray, "m _"],
    params: TrackParams,
    extra: Float[np.ndarray, " n"] | float = 0.0,
) -> list[tuple[int, int]]:
    """Return pairs (row of known, row of new) of the same face, of the least sum of distance - overlap + `extra`.

    A pair must overlap by `min_overlap` or be within `max_distance`. Any other costs as much as the worst allowed
    one, so that a face without a partner does not force another one into a bad pair.
    """
    overlap, distance = box_iou(known, new), box_distance(known, new)
    allowed = (overlap >= params.min_overlap) | (distance <= params.max_distance)
    cost = np.where(allowed, distance - overlap + np.reshape(extra, (-1, 1)), np.inf).clip(max=params.max_distance)
    pairs = zip(*linear_sum_assignment(cost), strict=True)
    return [(int(a), int(b)) for a, b in pairs if allowed[a, b]]


def choose_track(boxes: Float[np.ndarray, "n 5"], track: Int[np.ndarray, " n"]) -> tuple[int, str]:
    """Return the track with the most boxes (section 2.1), and why: `only`, `longest`, or `larger_face` after a tie.

    Of equally long ones the one of larger mean area is taken, then the one that begins first.
    """
    lengths = np.bincount(track)
    areas = np.bincount(track, (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])) / lengths
    longest = np.flatnonzero(lengths == lengths.max())
    chosen = int(longest[np.argmax(areas[longest])])
    if len(lengths) == 1:
        return chosen, "only"
    return chosen, "longest" if len(longest) == 1 else "larger_face"
