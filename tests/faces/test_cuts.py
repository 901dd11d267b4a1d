import numpy as np
import pytest

from emotion_pipeline.faces.link import shots
from emotion_pipeline.params import Params

TALL, WIDE = 96, 128


@pytest.fixture
def threshold(params: Params) -> float:
    return params.track.cut_threshold


def room(seed: int, light: float = 1.0, width: int = WIDE) -> np.ndarray:
    """Patches of 8 pixels with random colours."""
    patches = np.random.default_rng(seed).uniform(20, 220, (TALL // 8, width // 8, 3))
    return (light * np.kron(patches, np.ones((8, 8, 1)))).astype(np.uint8)


def film(*pictures: tuple[np.ndarray, int]) -> list[np.ndarray]:
    """Each picture so many times, with the noise of a camera."""
    rng = np.random.default_rng(0)
    every = [picture for picture, times in pictures for _ in range(times)]
    return [np.clip(p + rng.normal(0, 2, p.shape), 0, 255).astype(np.uint8) for p in every]


def plain(value: float) -> np.ndarray:
    return np.full((TALL, WIDE, 3), value, np.uint8)


def found(pictures: list[np.ndarray], threshold: float) -> list[int]:
    return (1 + np.flatnonzero(np.diff(shots(pictures, threshold)))).tolist()


@pytest.mark.parametrize("light", [1.0, 0.25])
def test_another_room_is_a_cut_also_in_the_dark(threshold, light):
    assert found(film((room(1, light), 5), (room(2, light), 6), (room(3, light), 1)), threshold) == [5, 11]


def test_a_flash_of_one_picture_is_no_cut(threshold):
    bright = np.clip(1.6 * room(1), 0, 255).astype(np.uint8)
    assert found(film((room(1), 5), (bright, 1), (room(1), 5)), threshold) == []
    assert found(film((room(1), 5), (bright, 1), (room(2), 5)), threshold) == [5, 6]


def test_light_that_rises_over_several_pictures_is_no_cut(threshold):
    assert found(film(*((plain(90 + 12 * k), 1) for k in range(8)), (plain(174), 4)), threshold) == []


def test_a_dip_to_black_parts_two_shots(threshold):
    out = [(plain(160 - 40 * k), 1) for k in range(4)]
    pictures = film((plain(160), 3), *out) + [plain(0)] * 2 + film(*out[::-1], (plain(160), 3))
    assert found(pictures, threshold) == [7, 9]


def test_black_leading_pictures_are_a_shot_of_their_own_however_few(threshold):
    for count in (1, 2, 9):
        assert found([plain(0)] * count + film((room(1), 6)), threshold) == [count]


def test_a_camera_that_is_swung_round_makes_no_cut(threshold):
    wide = np.clip(np.linspace(30, 220, 8 * WIDE)[None, :, None] + np.zeros((TALL, 1, 3)), 0, 255).astype(np.uint8)
    at = np.cumsum([0, 0, 0, 20, 60, 90, 90, 90, 60, 20, 0, 0])
    assert found([wide[:, x : x + WIDE] for x in at], threshold) == []


def test_few_pictures_or_none(threshold):
    assert shots([], threshold).tolist() == []
    assert shots([room(1)], threshold).tolist() == [0]
    assert shots([room(1), room(2)], threshold).tolist() == [0, 1]
