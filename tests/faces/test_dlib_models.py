"""dlib's landmarks on a photographed face, placed by other boxes than dlib's own."""

import cv2
import dlib
import numpy as np
import pytest
from skimage.data import astronaut

from emotion_pipeline.faces.dlib_models import dlib_68, hog_boxes
from emotion_pipeline.faces.frames import Frame, moved_box
from emotion_pipeline.weights.fetch import files_of

PICTURE = astronaut()[0:260, 80:380]


def landmarks(picture: Frame, box: np.ndarray) -> np.ndarray:
    (points,) = next(dlib_68(iter([(picture, np.array([[*box, 1]], np.float32))]), *files_of("dlib_68")))
    return points


@pytest.fixture(scope="module")
def box() -> np.ndarray:
    return hog_boxes(cv2.cvtColor(PICTURE, cv2.COLOR_RGB2GRAY))[0, :4].astype(float)


@pytest.fixture(scope="module")
def true(box) -> np.ndarray:
    return landmarks(PICTURE, box)


def error(points: np.ndarray, true: np.ndarray) -> float:
    return float(np.linalg.norm(points - true, axis=1).mean() / np.linalg.norm(true[36] - true[45]))


@pytest.mark.parametrize(
    ("dx", "dy"), [(0.05, 0.0), (-0.05, 0.05), (0.3, 0.0), (-0.35, 0.0), (0.0, 0.25), (0.0, -0.25)]
)
def test_a_box_beside_the_face_gives_nearly_the_same_landmarks(box, true, dx, dy):
    """A single prediction from the box moved by 0.3 is off by a quarter of the distance of the eyes and more."""
    assert error(landmarks(PICTURE, moved_box(box, dx, dy)), true) < 0.05


def test_enlarging_and_going_back_adds_no_shift(box, true):
    grey = cv2.cvtColor(PICTURE, cv2.COLOR_RGB2GRAY)
    x1, y1, x2, y2 = np.rint(box).astype(int).tolist()
    parts = dlib.shape_predictor(str(*files_of("dlib_68")))(grey, dlib.rectangle(x1, y1, x2 - 1, y2 - 1)).parts()
    plain = np.array([(point.x, point.y) for point in parts])
    np.testing.assert_allclose(np.mean(true - plain, axis=0), 0, atol=0.4)


def test_motion_of_a_small_face_by_part_of_a_pixel_is_seen(box):
    """dlib's own landmarks are whole pixels."""
    scale = 50 / (box[2] - box[0])
    moves = np.arange(0, 1, 0.125)
    small = [
        cv2.warpAffine(
            cv2.GaussianBlur(PICTURE, (0, 0), 0.4 / scale),
            np.array([[scale, 0, 10 + dx], [0, scale, 10]]),
            (int(300 * scale) + 20, int(260 * scale) + 20),
            flags=cv2.INTER_CUBIC,
        )
        for dx in moves
    ]
    x = np.array([landmarks(p, box * scale + 10)[:, 0].mean() for p in small])
    np.testing.assert_allclose(x - x[0], moves, atol=0.2)
    assert (np.diff(x) > 0).sum() >= 6


def test_every_box_has_its_landmarks_and_pictures_without_one_have_none(box, true):
    other = np.roll(PICTURE, 40, axis=1)
    pictures = [
        (PICTURE, np.array([[*box, 1]], np.float32)),
        (PICTURE, np.zeros((0, 5), np.float32)),
        (other, np.array([[*moved_box(box, 40 / (box[2] - box[0]), 0.0), 1], [*box, 0]], np.float32)),
    ]
    found = list(dlib_68(iter(pictures), *files_of("dlib_68")))
    assert [points.shape for points in found] == [(1, 68, 2), (0, 68, 2), (2, 68, 2)]
    assert error(found[2][0], true + np.array([40, 0])) < 0.02


def test_landmarks_of_a_large_face_are_in_its_pixels(box, true):
    large = cv2.resize(PICTURE, None, fx=4, fy=4, interpolation=cv2.INTER_CUBIC)
    points = (landmarks(large, box * 4) + 0.5) / 4 - 0.5
    assert error(points, true) < 0.03
    assert abs(np.median(points - true)) < 0.4
