from typing import get_args

import cv2
import numpy as np
import pytest

from emotion_pipeline.faces.crops import (
    BORDERS,
    ENCODINGS,
    MEAN_SHAPE,
    STEADY,
    level_similarity,
    mean_shape_in_crop,
    warp_face,
)
from emotion_pipeline.faces.detect import DETECTORS
from emotion_pipeline.faces.landmarks import PREDICTORS
from emotion_pipeline.params import AlignParams, DetectParams, TrackParams


def mean_face(scale: float = 50, degrees: float = 0, centre: tuple[float, float] = (160, 120)) -> np.ndarray:
    """The mean shape in a picture; the landmarks that do not place the face are far away."""
    angle = np.deg2rad(degrees)
    rotation = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    points = np.full((68, 2), 1e4)
    points[STEADY] = scale * MEAN_SHAPE @ rotation.T + centre
    return points


def moved(points: np.ndarray, transform: np.ndarray) -> np.ndarray:
    return points @ transform[:, :2].T + transform[:, 2]


@pytest.mark.parametrize("degrees", [-160, -30, 0, 12, 90])
@pytest.mark.parametrize("scale", [8.0, 62.0, 400.0])
def test_known_rotation_scale_and_shift_are_undone(degrees, scale):
    target = mean_shape_in_crop(0.15)
    points = mean_face(scale, degrees, (311, -20))
    np.testing.assert_allclose(moved(points[STEADY], level_similarity(points, target)), target, atol=1e-9)


def test_it_is_a_similarity_without_mirroring():
    points = mean_face() + np.random.default_rng(0).normal(scale=3, size=(68, 2))
    linear = level_similarity(points, mean_shape_in_crop(0.1))[:, :2]
    square = np.linalg.det(linear)
    assert square > 0
    np.testing.assert_allclose(linear @ linear.T, square * np.eye(2), atol=1e-9)


def test_eyes_are_level_also_where_the_nose_points_sideways():
    points = mean_face(60, 25)
    points[27:36] += 15 * np.array([np.cos(np.deg2rad(25)), np.sin(np.deg2rad(25))])
    aligned = moved(points, level_similarity(points, mean_shape_in_crop(0.15)))
    left, right = aligned[36:42].mean(axis=0), aligned[42:48].mean(axis=0)
    assert left[1] == pytest.approx(right[1], abs=1e-9)
    assert left[0] < right[0]


def test_scale_and_shift_have_the_least_squares():
    points = mean_face(60, 10) + np.random.default_rng(0).normal(scale=4, size=(68, 2))
    target = mean_shape_in_crop(0.15)
    best = level_similarity(points, target)

    def error(factor: float, shift: tuple[float, float]) -> float:
        return ((moved(points[STEADY], best) * factor + shift - target) ** 2).sum()

    for factor, shift in [
        (1.003, (0, 0)),
        (0.997, (0, 0)),
        (1, (0.3, 0)),
        (1, (-0.3, 0)),
        (1, (0, 0.3)),
        (1, (0, -0.3)),
    ]:
        assert error(1, (0, 0)) < error(factor, shift)


@pytest.mark.parametrize("margin", [0.0, 0.15, 0.5])
def test_brows_to_chin_is_centred_and_the_margin_is_its_share_of_that_height(margin):
    target = mean_shape_in_crop(margin)
    unit = target[9, 0] - target[0, 0]
    unit /= MEAN_SHAPE[9, 0] - MEAN_SHAPE[0, 0]
    eyes = target[:12, 1].reshape(2, 6).mean()
    brow, chin = eyes - 0.436 * unit, eyes + 2.164 * unit
    assert (brow + chin) / 2 == pytest.approx(111.5, abs=0.2)
    assert (brow + 0.5) / (chin - brow) == pytest.approx(margin, abs=0.01)


@pytest.mark.parametrize("scale", [30.0, 70.0, 300.0])
def test_the_picture_goes_where_the_landmarks_say(scale):
    """Dots painted at two landmarks of a turned face; large faces go through the smaller picture."""
    points = mean_face(scale, 20, (700, 500))
    picture = np.zeros((1300, 1500, 3), np.uint8)
    for point, channel in ((points[39], 0), (points[33], 1)):
        layer = np.zeros(picture.shape[:2], np.uint8)
        cv2.circle(layer, np.rint(point * 16).astype(int).tolist(), int(scale * 1.6), 255, -1, cv2.LINE_AA, 4)
        picture[..., channel] = layer
    aligned = warp_face(picture, points, 0.15, "black").astype(float)
    expected = moved(points, level_similarity(points, mean_shape_in_crop(0.15)))
    grid = np.arange(224.0)
    for point, channel in ((expected[39], 0), (expected[33], 1)):
        mass = aligned[..., channel]
        found = np.array([(mass.sum(axis=0) * grid).sum(), (mass.sum(axis=1) * grid).sum()]) / mass.sum()
        np.testing.assert_allclose(found, point, atol=0.15)


def test_a_large_face_is_averaged_and_not_sampled():
    """Single pixels of black and white, shrunk five times, become grey."""
    picture = np.random.default_rng(0).integers(0, 2, (900, 900, 1)).astype(np.uint8).repeat(3, axis=2) * 255
    aligned = warp_face(picture, mean_face(310, 0, (450, 250)), 0.15, "replicate")
    assert aligned[20:200, 20:200].std() < 45  # sampled, even linearly: above 70


@pytest.mark.parametrize(("border", "outside"), [("replicate", 200), ("black", 0)])
def test_border(border, outside):
    picture = np.full((60, 60, 3), 200, np.uint8)
    aligned = warp_face(picture, mean_face(30, 0, (0, 0)), 0.15, border)
    assert aligned[0, 0].tolist() == [outside] * 3
    assert aligned[150, 150].tolist() == [200] * 3


@pytest.mark.parametrize(
    ("choices", "section", "field"),
    [
        (DETECTORS, DetectParams, "detector"),
        (PREDICTORS, AlignParams, "predictor"),
        (BORDERS, TrackParams, "border"),
        (ENCODINGS, TrackParams, "encoding"),
    ],
)
def test_choices_are_those_of_params(choices, section, field):
    assert set(choices) == set(get_args(section.model_fields[field].annotation))
