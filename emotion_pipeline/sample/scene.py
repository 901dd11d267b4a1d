"""Put performers before a background: head motion, light, blur, noise."""

from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import Bool, Float, UInt8
from numpy.random import Generator

from emotion_pipeline.sample.expression import CONTROLS, LIP_CORNER_PULLER, MIRROR, NOSE_WRINKLER, UNIT_SHIFTS
from emotion_pipeline.sample.face_warp import PART, warp_face
from emotion_pipeline.sample.performer import SCALE, Performer, portrait

FACE_CENTRE = np.array([224.0, 132.0])
"""The middle of the face in the photograph, x and y in pixels."""


@dataclass(frozen=True)
class Actor:
    """A performer in a clip of t frames."""

    person: Performer
    units: Float[np.ndarray, "t u"]  # action units
    place: Float[np.ndarray, "t 2 3"]  # photograph -> frame
    present: Bool[np.ndarray, " t"]


def wander(frames: int, size: float, seconds: float, rng: Generator) -> Float[np.ndarray, " t"]:
    """Return a smooth random movement of about `size`, for frames at 25 a second."""
    t = np.arange(frames) / 25
    waves = [np.sin(2 * np.pi * t / (seconds * rng.uniform(0.6, 2)) + rng.uniform(0, 7)) for _ in range(2)]
    return size * (0.6 * waves[0] + 0.4 * waves[1])


def head_motion(
    frames: int, person: Performer, centre: tuple[float, float], scale: float, rng: Generator
) -> Float[np.ndarray, "t 2 3"]:
    """Return affine maps from the photograph to the frame that move the face about `centre`."""
    side = -1 if person.mirrored else 1
    angle = np.radians(rng.uniform(-3, 3) + wander(frames, 4.0, 2.5, rng)) - 0.045 * side
    zoom = scale * (1 + wander(frames, 0.02, 3.0, rng))
    middle = np.stack([centre[0] + wander(frames, 7.0, 2.0, rng), centre[1] + wander(frames, 4.0, 2.0, rng)], axis=1)
    cos, sin = np.cos(angle), np.sin(angle)
    turn = np.stack([cos, -sin, sin, cos], axis=1).reshape(-1, 2, 2)
    linear = zoom[:, None, None] * (turn * [side * person.aspect[0], person.aspect[1]])
    return np.concatenate([linear, (middle - linear @ FACE_CENTRE)[..., None]], axis=2)


def draw(
    picture: Float[np.ndarray, "h w 3"], who: Actor, frame: int
) -> tuple[Float[np.ndarray, "h w 3"], Float[np.ndarray, "68 2"]]:
    """Return the picture with the actor in it, and the actor's landmarks in pixels of the picture."""
    units = who.units[frame]
    shift = who.person.shape + np.tensordot(units, UNIT_SHIFTS, 1)
    folds = float(np.clip(units[LIP_CORNER_PULLER] + 0.5 * units[NOSE_WRINKLER], 0, 1))
    smooth, folded = portrait(who.person, 0.0), portrait(who.person, 1.0)
    canvas = smooth.copy()
    canvas[PART] = warp_face(cv2.addWeighted(folded[PART], folds, smooth[PART], 1 - folds, 0), shift)
    if who.person.glasses:
        _draw_glasses(canvas, who.person)
    place = who.place[frame]
    # a pixel c of the canvas shows the point (c + 0.5) / SCALE - 0.5 of the photograph
    linear = place[:, :2] / SCALE
    offset = place[:, 2] + place[:, :2] @ np.full(2, 0.5 / SCALE - 0.5)
    h, w = picture.shape[:2]
    seen = cv2.warpAffine(canvas, np.column_stack([linear, offset]), (w, h), flags=cv2.INTER_LINEAR).astype(np.float32)
    alpha = seen[..., 3:] * np.float32(1 / 255)
    points = (CONTROLS + shift)[:68] @ place[:, :2].T + place[:, 2]
    return picture + (seen[..., :3] - picture) * alpha, points[MIRROR] if who.person.mirrored else points


def _draw_glasses(canvas: UInt8[np.ndarray, "h w 4"], person: Performer) -> None:
    resting, colour, thickness = CONTROLS + person.shape, (40, 34, 32, 255), round(0.9 * SCALE)
    left, right = resting[36:42].mean(axis=0), resting[42:48].mean(axis=0)
    for centre in (left, right):
        x, y = (round(16 * v) for v in (centre + [0, 2.5] + 0.5) * SCALE)
        axes = (round(15.5 * SCALE * 16), round(10.5 * SCALE * 16))
        cv2.ellipse(canvas, (x, y), axes, 0, 0, 360, colour, thickness, cv2.LINE_AA, 4)
    bridge = [left - [-15, 0], right - [15, 0]]
    arms = [[left - [15, 1], resting[0] - [0, 3]], [right - [-15, 1], resting[16] - [0, 3]]]
    ends = np.round((np.array([bridge, *arms]) + 0.5) * SCALE * 16).astype(np.int32)
    cv2.polylines(canvas, [*ends], False, colour, thickness, cv2.LINE_AA, 4)


def background(height: int, width: int, rng: Generator) -> Float[np.ndarray, "h w 3"]:
    """Return a room out of focus: a wall and some things in it."""
    top, bottom = rng.uniform(50, 220, 3), rng.uniform(40, 200, 3)
    grey = rng.uniform(0.3, 0.8)
    top, bottom = (c * (1 - grey) + c.mean() * grey for c in (top, bottom))
    mix = np.linspace(0, 1, height)[:, None, None]
    picture = np.broadcast_to(top * (1 - mix) + bottom * mix, (height, width, 3)).astype(np.float32).copy()
    for _ in range(int(rng.integers(3, 8))):
        colour = rng.uniform(30, 225) + rng.uniform(-40, 40, 3) * rng.uniform(0, 1)
        x, y = int(rng.integers(0, width)), int(rng.integers(0, height))
        w, h = int(rng.integers(15, width // 3)), int(rng.integers(15, height // 2))
        cv2.rectangle(picture, (x, y), (x + w, y + h), tuple(float(c) for c in colour), -1)
    blurred = np.asarray(cv2.GaussianBlur(picture, (0, 0), rng.uniform(3, 8)))
    grain = cv2.GaussianBlur(rng.normal(0, 1, (height, width)).astype(np.float32), (0, 0), 2)
    return blurred + np.float32(12) * grain[..., None]


def camera(frames: int, difficulty: float, rng: Generator) -> Callable[[np.ndarray, int], np.ndarray]:
    """Return what photographs a picture in the light of a frame of a shot; light and camera are drawn here."""
    gain, slope, direction = rng.uniform(0.85, 1.12), rng.uniform(0.1, 0.45), rng.uniform(0, 2 * np.pi)
    drift, tint = wander(frames, 0.06, 2.0, rng), rng.uniform(0.95, 1.05, 3).astype(np.float32)
    blur, noise = rng.uniform(0.3, 0.4 + 0.6 * difficulty), rng.uniform(1, 2 + 6 * difficulty)

    def photographed(picture: Float[np.ndarray, "h w 3"], frame: int) -> UInt8[np.ndarray, "h w 3"]:
        h, w = picture.shape[:2]
        x, y = np.linspace(-1, 1, w, dtype=np.float32), np.linspace(-1, 1, h, dtype=np.float32)[:, None]
        light = 1 + np.float32(slope) * (np.float32(np.cos(direction)) * x + np.float32(np.sin(direction)) * y)
        light *= np.float32(gain * (1 + drift[frame]))
        lit = cv2.GaussianBlur(picture, (0, 0), blur) * light[..., None] * tint
        lit += np.float32(noise) * rng.standard_normal((h, w, 1), dtype=np.float32)
        return cv2.convertScaleAbs(np.maximum(lit, 0))

    return photographed
