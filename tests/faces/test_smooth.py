import numpy as np
import pytest

from emotion_pipeline.faces.track import fill_gaps, smooth

WITH_GAPS = np.array([3, 4, 5, 9, 10, 11, 12, 13, 18, 19, 40], np.int32)


@pytest.fixture
def wandering() -> np.ndarray:
    return np.random.default_rng(0).normal(size=(len(WITH_GAPS), 68, 2)).astype(np.float32)


@pytest.mark.parametrize("frame", [np.arange(41), np.delete(np.arange(41), [3, 17, 18, 22, 30])])
def test_it_is_the_parabola_of_least_weighted_squares(frame):
    sigma, positions = 1.5, np.random.default_rng(0).normal(size=(len(frame), 2))
    smoothed = smooth(positions, frame, sigma)
    for i in (0, 5, 18, len(frame) - 1):
        offset = frame - frame[i]
        weight = np.exp(-0.5 * (offset / sigma) ** 2) * (np.abs(offset) <= 4 * sigma)
        fit = np.polynomial.polynomial.polyfit(offset, positions, 2, w=np.sqrt(weight))
        np.testing.assert_allclose(smoothed[i], fit[0], atol=1e-9)


def test_reversed_time_gives_the_reversed_result(wandering):
    backwards = smooth(wandering[::-1], -WITH_GAPS[::-1], 1.5)
    np.testing.assert_allclose(smooth(wandering, WITH_GAPS, 1.5), backwards[::-1], atol=1e-5)


@pytest.mark.parametrize("frame", [np.arange(30), WITH_GAPS])
def test_accelerated_motion_stays_unmoved_also_at_the_ends_and_beside_gaps(frame):
    positions = np.stack([7.0 * frame + 3, 400 - 2.0 * frame + 0.3 * frame**2], axis=1)
    np.testing.assert_allclose(smooth(positions, frame, 2.0), positions, atol=1e-8)


def test_true_frame_numbers_count(wandering):
    as_if_dense = smooth(wandering, np.arange(len(WITH_GAPS)), 1.5)
    assert np.abs(smooth(wandering, WITH_GAPS, 1.5) - as_if_dense).max() > 0.1


def test_a_face_without_neighbours_in_reach_stays_where_it_is(wandering):
    np.testing.assert_allclose(smooth(wandering, WITH_GAPS, 1.5)[-1], wandering[-1], atol=1e-6)


def test_jitter_shrinks():
    noise = np.random.default_rng(0).normal(size=(200, 68, 2))
    jitter = [np.abs(np.diff(p, 2, axis=0)).mean() for p in (noise, smooth(noise, np.arange(200), 1.5))]
    assert jitter[1] < 0.3 * jitter[0]


def test_a_head_shaken_at_two_hertz_moves_as_before():
    """An amplitude of a quarter of the eyes' distance, 25 frames a second; a running mean cuts a sixth of it off."""
    shake = 0.25 * np.sin(2 * np.pi * 2 * np.arange(100) / 25)[:, None]
    assert np.abs(smooth(shake, np.arange(100), 1.5) - shake).max() < 0.02


def test_many_coordinates_are_smoothed_as_each_alone():
    noise = np.random.default_rng(0).normal(size=(30, 68, 2))
    alone = smooth(noise[:, 40, 1], np.arange(30), 1.5)
    np.testing.assert_allclose(smooth(noise, np.arange(30), 1.5)[:, 40, 1], alone, atol=1e-12)


@pytest.mark.parametrize("sigma", [0.0, 0.01])
def test_no_smoothing_changes_nothing(wandering, sigma):
    np.testing.assert_allclose(smooth(wandering, WITH_GAPS, sigma), wandering, atol=1e-6)


def test_one_frame_is_left_alone():
    np.testing.assert_array_equal(smooth(np.ones((1, 4)), np.array([7]), 1.5), np.ones((1, 4)))


def test_gaps_are_filled_on_straight_lines():
    known = np.array([[0.0, 10], [4, 2]])
    np.testing.assert_allclose(
        fill_gaps(known, np.array([2, 6]), np.arange(2, 7)), [[0, 10], [1, 8], [2, 6], [3, 4], [4, 2]]
    )
