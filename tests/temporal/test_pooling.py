import numpy as np
import pytest

from emotion_pipeline.params import ScoresParams
from emotion_pipeline.temporal.model import POOLINGS

SCORES = np.array([[0.5, 0.3, 0.2], [0.1, 0.5, 0.4], [0.1, 0.2, 0.7], [0.1, 0.5, 0.4]], np.float32)
"""Best: class 0, 1, 2, 1."""


@pytest.mark.parametrize(
    ("pooling", "expected"),
    [
        ("maximum", np.array([0.5, 0.5, 0.7]) / 1.7),
        ("mean", [0.2, 0.375, 0.425]),
        ("majority", np.array([1.2, 2.375, 1.425]) / 5),
        ("most_certain", [0.1, 0.2, 0.7]),
        ("central", [0.1, 0.2, 0.7]),
    ],
)
def test_by_hand(pooling, expected):
    joined = POOLINGS[pooling](SCORES)
    np.testing.assert_allclose(joined, expected, rtol=1e-6)
    np.testing.assert_allclose(joined.sum(), 1, rtol=1e-6)


def test_of_equal_votes_the_higher_mean_wins():
    joined = POOLINGS["majority"](np.array([[0.6, 0.4, 0.0], [0.1, 0.9, 0.0]], np.float32))
    assert joined.argmax() == 1


def test_the_middle_of_an_odd_number_of_windows():
    assert POOLINGS["central"](SCORES[:3]).argmax() == 1


@pytest.mark.parametrize("pooling", POOLINGS)
def test_one_step_is_its_own_prediction(pooling):
    assert POOLINGS[pooling](SCORES[2:3]).argmax() == 2


def test_every_pooling_has_its_name_in_the_parameters():
    assert set(ScoresParams.model_fields["pooling"].annotation.__args__) == set(POOLINGS)
