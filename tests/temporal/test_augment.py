import numpy as np
import pytest

from emotion_pipeline.params import AugmentParams
from emotion_pipeline.temporal.fit import augmented, resampled

LONGEST = 40
STEPS = np.repeat(np.arange(30, dtype=np.float32)[:, None], 3, axis=1)
MIRRORED = STEPS + 1000


def variants(features=STEPS, mirrored=MIRRORED, **changes) -> list[np.ndarray]:
    params = AugmentParams(**({"augment_shortest": 1.0, "augment_stretch": 1.0, "augment_flip": False} | changes))
    return [augmented(features, mirrored, params, LONGEST, np.random.default_rng(k)) for k in range(3000)]


def test_nothing_asked_for_is_the_sequence_itself():
    assert all(sequence is STEPS for sequence in variants())


def test_a_part_is_contiguous_of_every_length_from_the_least_share_and_at_every_place():
    parts = variants(augment_shortest=0.5)
    assert all((np.diff(part[:, 0]) == 1).all() for part in parts)
    assert {len(part) for part in parts} == set(range(15, 31))
    assert {part[0, 0] for part in parts if len(part) == 20} == set(range(11))


def test_a_stretch_is_as_often_slower_as_faster_and_keeps_both_ends():
    parts = variants(augment_stretch=1.5)
    lengths = np.array([len(part) for part in parts])
    assert (lengths.min(), lengths.max()) == (20, LONGEST)  # 45 would be too long
    assert 0.4 < (lengths > 30).mean() < 0.6
    for part in parts:
        np.testing.assert_allclose(part[:, 0], np.linspace(0, 29, len(part)), atol=1e-4)


def test_half_of_the_sequences_are_those_of_mirrored_faces():
    flipped = [sequence is MIRRORED for sequence in variants(augment_flip=True)]
    assert 0.4 < np.mean(flipped) < 0.6


@pytest.mark.parametrize("steps", [1, 2])
def test_no_sequence_becomes_empty(steps):
    parts = variants(STEPS[:steps], MIRRORED[:steps], augment_shortest=0.01, augment_stretch=4.0)
    assert min(len(part) for part in parts) == 1
    assert all(np.isfinite(part).all() for part in parts)


def test_values_between_two_steps_are_interpolated():
    sequence = np.array([[0.0, 8.0], [4.0, 0.0]], np.float32)
    np.testing.assert_allclose(resampled(sequence, 5), [[0, 8], [1, 6], [2, 4], [3, 2], [4, 0]])
    np.testing.assert_allclose(resampled(sequence, 1), [[0, 8]])
    assert resampled(sequence, 5).dtype == np.float32
