"""Generated clips of several people for `benchmarks.tracking`: who walks where, and what is really to be seen."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial

import cv2
import numpy as np
from jaxtyping import Float, Int, UInt8
from numpy.random import Generator

from emotion_pipeline.faces.frames import box_iou
from emotion_pipeline.params import SampleParams
from emotion_pipeline.sample.expression import UNITS
from emotion_pipeline.sample.film import person_of
from emotion_pipeline.sample.scene import Actor, background, camera, draw, head_motion

HEIGHT, WIDTH = 232, 640
SCALE, FACE = 0.7, (64.0, 77.0)
"""Of the photograph, and what a face then measures: pixels, width and height of its true box."""

TOP, MIDDLE = 102.0, WIDTH / 2
"""Where the upper of two faces walks, and where they meet."""

FOREHEAD = 0.3
"""A true box is the landmarks' bounding box with this share of its height added on top, as detectors box a face."""

SPEEDS, OVERLAPS = (1.5, 3.0, 6.0, 12.0), (0.0, 0.12, 0.35, 0.6, 0.9)
"""Pixels a frame that each person walks (a face is 64 wide); overlaps aimed at, reached by the difference in height."""

GAPS = (1, 3, 5, 8, 15)
SHOWN = 0.5
"""Share of its true box from which on a face counts as visible."""

Path = tuple[Float[np.ndarray, " t"], Float[np.ndarray, " t"]]


@dataclass(frozen=True)
class Shot:
    """What happens before one background. The cast stands in the order back to front."""

    cast: list[Actor]
    hidden: dict[int, range] = field(default_factory=dict)  # member of the cast -> frames in which a board hides it


@dataclass(frozen=True)
class Clip:
    """A generated clip and its truth: a row for each face of each frame that is in the picture."""

    kind: str
    pictures: list[UInt8[np.ndarray, "h w 3"]]
    shot: Int[np.ndarray, " t"]
    boxes: Float[np.ndarray, "n 4"]
    frame: Int[np.ndarray, " n"]
    person: Int[np.ndarray, " n"]
    visible: Float[np.ndarray, " n"]  # share of the box that nothing hides

    @property
    def overlap(self) -> float:
        """Largest intersection over union of the boxes of two people in one frame."""
        same = [np.flatnonzero(self.frame == f) for f in np.unique(self.frame)]
        return max((float(np.triu(box_iou(self.boxes[r], self.boxes[r]), 1).max()) for r in same), default=0.0)


Make = Callable[[SampleParams, Generator], Clip]


def clips(seeds: Sequence[int]) -> Iterator[tuple[int, Make]]:
    """Seed and recipe of every clip. Crossings are named by the overlap that comes out, hence after they are made."""
    for seed in seeds:
        for speed in SPEEDS:
            for aim in OVERLAPS:
                yield seed, partial(crossing, speed=speed, aim=aim)
            for aim in (0.12, 0.35):
                yield seed, partial(meeting, speed=speed, aim=aim)
            for aim in (0.35, 0.9):
                yield seed, partial(three, speed=speed, aim=aim)
        for gap in GAPS:
            for speed in (0.0, 4.0):
                yield seed, partial(hidden, gap=gap, speed=speed)
            yield seed, partial(leaving, gap=gap)
        for aside in (0.0, 150.0):
            yield seed, partial(cut, aside=aside)
        for speed in (3.0, 6.0):
            yield seed, partial(distractor, speed=speed)


def crossing(params: SampleParams, rng: Generator, speed: float, aim: float) -> Clip:
    """Two people pass each other."""
    way = _way(speed)
    drop = FACE[1] * ((1 - aim) / (1 + aim) if aim else 1.15)
    heights = [TOP, TOP + drop][:: rng.choice([-1, 1])]
    paths = [(MIDDLE + way, np.full_like(way, heights[0])), (MIDDLE - way, np.full_like(way, heights[1]))]
    return _named_by_overlap("two cross", [Shot(_cast(paths, params, rng))], rng)


def meeting(params: SampleParams, rng: Generator, speed: float, aim: float) -> Clip:
    """Two people walk towards each other at one height, and turn back."""
    apart = FACE[0] * (1 - aim) / (1 + aim) / 2 + np.abs(_way(speed))
    level = np.full_like(apart, TOP + 20)
    paths = [(MIDDLE - apart, level), (MIDDLE + apart, level)]
    return _named_by_overlap("two meet and turn back", [Shot(_cast(paths, params, rng))], rng)


def three(params: SampleParams, rng: Generator, speed: float, aim: float) -> Clip:
    """Two people pass each other, a third walks through both, at half their speed."""
    way, drop = _way(speed), FACE[1] * (1 - aim) / (1 + aim)
    levels = [np.full_like(way, TOP + k * drop) for k in rng.permutation(3)]
    paths = [(MIDDLE + direction * way, level) for direction, level in zip((1, -1, 0.5), levels, strict=True)]
    return _named_by_overlap("three cross", [Shot(_cast(paths, params, rng))], rng)


def hidden(params: SampleParams, rng: Generator, gap: int, speed: float) -> Clip:
    """A board hides the face of one of two people, who stands or walks."""
    way = speed * np.arange(44) + (120 if speed else 200)
    paths = [(way, np.full_like(way, TOP + 20)), (np.full_like(way, 480.0), np.full_like(way, TOP + 40))]
    who = "walking" if speed else "standing"
    shot = Shot(_cast(paths, params, rng, shuffled=False), {0: range(20, 20 + gap)})
    return _filmed(f"{who} face hidden for {gap}", [shot], rng)


def leaving(params: SampleParams, rng: Generator, gap: int) -> Clip:
    """One of two people leaves the picture with more than half of the face, and comes back."""
    speed = 4.0
    x = WIDTH + speed * (gap / 2 - np.abs(np.arange(40 + gap) - (39 + gap) / 2))
    paths = [(x, np.full_like(x, TOP + 20)), (np.full_like(x, 160.0), np.full_like(x, TOP + 40))]
    return _filmed(f"out of view for {gap}", [Shot(_cast(paths, params, rng))], rng)


def cut(params: SampleParams, rng: Generator, aside: float) -> Clip:
    """Another person in another room behind a cut, at the same place or `aside`."""
    levels = [np.full(18, TOP + 20), np.full(24, TOP + 20)]
    shots = [Shot(_cast([(240 + aside * k + 0 * y, y)], params, rng)) for k, y in enumerate(levels)]
    return _filmed(f"cut, next face {'aside' if aside else 'at the same place'}", shots, rng)


def distractor(params: SampleParams, rng: Generator, speed: float) -> Clip:
    """A face of half the size in the background, past which a large one walks."""
    way = _way(speed)
    paths = [(np.full_like(way, MIDDLE), np.full_like(way, TOP + 30)), (MIDDLE + way, np.full_like(way, TOP + 20))]
    cast = _cast(paths, params, rng, scales=(0.5, 1.0), shuffled=False)
    cast[0].present[:4] = False
    return _filmed("small face behind", [Shot(cast)], rng)


def _way(speed: float) -> Float[np.ndarray, " t"]:
    """Places of somebody who is in the middle, at 0, in the middle of the shot."""
    frames = max(40, int(np.ceil(2 * FACE[0] / speed)))
    return speed * (np.arange(frames) - (frames - 1) / 2)


def _cast(
    paths: Sequence[Path],
    params: SampleParams,
    rng: Generator,
    scales: Sequence[float] = (1.0, 1.0, 1.0),
    shuffled: bool = True,
) -> list[Actor]:
    """Different people on these paths, in a random order from back to front."""
    cast = []
    for number, (x, y), scale in zip(rng.permutation(9) + 1, paths, scales, strict=False):
        person = person_of(f"guest_{number:02d}", params)
        size = SCALE * scale * rng.uniform(0.97, 1.03)
        place = head_motion(len(x), person, (0.0, 0.0), size, rng)
        place[:, :, 2] += np.stack([x, y], axis=1)
        cast.append(Actor(person, np.zeros((len(x), len(UNITS))), place, np.ones(len(x), bool)))
    return [cast[k] for k in rng.permutation(len(cast))] if shuffled else cast


def _named_by_overlap(what: str, shots: list[Shot], rng: Generator) -> Clip:
    clip = _filmed(what, shots, rng)
    edges = (0.0, 0.25, 0.5, 0.75, 1.0)
    k = int(np.searchsorted(edges, clip.overlap))
    return replace(clip, kind=f"{what}, overlap {f'{edges[k - 1]:g} to {edges[k]:g}' if k else '0'}")


def _filmed(kind: str, shots: list[Shot], rng: Generator) -> Clip:
    pictures, rows, number, people = [], list[tuple[float, ...]](), list[int](), 0
    for index, shot in enumerate(shots):
        frames = len(shot.cast[0].present)
        room, photographed = background(HEIGHT, WIDTH, rng), camera(frames, 0.25, rng)
        for frame in range(frames):
            picture, seen = _picture(room, shot, frame)
            rows += [(len(pictures), people + who, share, *box) for who, share, box in seen]
            pictures.append(photographed(picture, frame))
            number.append(index)
        people += len(shot.cast)
    truth = np.array(rows)
    frame, person = truth[:, 0].astype(np.int32), truth[:, 1].astype(np.int32)
    return Clip(kind, pictures, np.array(number), truth[:, 3:], frame, person, truth[:, 2])


def _picture(room: np.ndarray, shot: Shot, frame: int) -> tuple[np.ndarray, list[tuple[int, float, np.ndarray]]]:
    """The picture, and of each face in it: whose, share visible, box."""
    picture, found = room, list[tuple[int, np.ndarray, np.ndarray]]()
    covered = np.zeros((len(shot.cast), HEIGHT, WIDTH), bool)
    for who, one in enumerate(shot.cast):
        if one.present[frame]:
            before = picture
            picture, points = draw(picture, one, frame)
            covered[:who] |= (np.abs(picture - before) > 2).any(axis=-1)
            found.append((who, covered[who], _true_box(points)))
    for who, mask, box in found:
        if frame in shot.hidden.get(who, ()):
            x1, y1, x2, y2 = (box + np.array([-8, -8, 8, 8])).round().astype(int).tolist()
            picture = cv2.rectangle(picture.copy(), (x1, y1), (x2, y2), (90.0, 70.0, 50.0), -1)
            mask[max(y1, 0) : y2, max(x1, 0) : x2] = True
    shares = [(who, _visible(mask, box), box) for who, mask, box in found]
    return picture, [row for row in shares if row[1] > 0 or row[0] in shot.hidden]


def _true_box(points: Float[np.ndarray, "68 2"]) -> Float[np.ndarray, " 4"]:
    low, high = points.min(axis=0), points.max(axis=0)
    return np.array([low[0], low[1] - FOREHEAD * (high[1] - low[1]), *high])


def _visible(covered: np.ndarray, box: Float[np.ndarray, " 4"]) -> float:
    """Share of a box that lies in the picture and is not covered."""
    x1, y1, x2, y2 = box.round().astype(int).tolist()
    inside = covered[max(y1, 0) : max(y2, 0), max(x1, 0) : max(x2, 0)]
    return float((~inside).sum() / ((x2 - x1) * (y2 - y1)))
