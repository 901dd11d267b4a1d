"""Which boxes of a clip are the same person: linking over time, several people at once."""

from itertools import compress

import numpy as np
from jaxtyping import Float, Int, Int32
from scipy.optimize import linear_sum_assignment

from emotion_pipeline.faces.frames import box_centres, box_distance, box_iou
from emotion_pipeline.params import TrackParams

VELOCITY_BOXES = 5  # the last boxes of a track from which its present motion is taken
KEPT = 0.8  # of a velocity, each frame: who turns back, seen or not, is not sought where he would have gone
PATIENCE = 0.1  # cost of each frame without a box: of two tracks that both want one, that which was just seen gets it


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
