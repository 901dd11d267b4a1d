import numpy as np
import pytest
from sklearn.metrics import accuracy_score, balanced_accuracy_score, confusion_matrix

from emotion_pipeline.metrics import (
    NO_PREDICTION,
    accuracy,
    bootstrap_interval,
    confusion,
    mcnemar,
    predicted_labels,
    uar,
)


@pytest.fixture
def labels() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(3)
    truth = rng.choice([0, 2, 3, 5], 200, p=[0.6, 0.2, 0.1, 0.1])  # unbalanced, three classes never occur
    return truth, np.where(rng.random(200) < 0.6, truth, rng.choice([0, 2, 3, 5], 200))


def test_metrics_equal_scikit_learn(labels):
    truth, predicted = labels
    assert accuracy(truth, predicted) == pytest.approx(accuracy_score(truth, predicted))
    assert uar(truth, predicted) == pytest.approx(balanced_accuracy_score(truth, predicted))
    assert uar(truth, predicted) != pytest.approx(accuracy(truth, predicted), abs=0.01)
    np.testing.assert_array_equal(confusion(truth, predicted), confusion_matrix(truth, predicted, labels=range(7)))


def test_uar_averages_over_the_classes_that_occur():
    assert uar(np.array([0, 0, 0, 1]), np.array([0, 0, 3, 2])) == pytest.approx((2 / 3 + 0) / 2)


def test_confusion_leaves_out_clips_without_prediction():
    counts = confusion(np.array([1, 1, 6]), np.array([NO_PREDICTION, 2, NO_PREDICTION]))
    assert counts[1, 2] == 1
    assert counts.sum() == 1


def test_absent_clips_are_wrong():
    scores = np.full((4, 7), np.nan)
    scores[0], scores[1] = np.eye(7)[0], np.eye(7)[4]
    truth, predicted = np.array([0, 3, 0, 3]), predicted_labels(scores, np.array([True, True, False, False]))
    # nan rows would be class 0 to argmax: the third clip must not come out right
    assert (accuracy(truth, predicted), uar(truth, predicted)) == (0.25, 0.25)


@pytest.mark.parametrize("metric", [accuracy, uar])
def test_metric_of_nothing_is_refused(metric):
    with pytest.raises(ValueError, match="no labelled clip"):
        metric(np.zeros(0, int), np.zeros(0, int))


def test_predicted_label_does_not_read_absent_scores():
    scores = np.array([[0.2, 0.8], [np.nan, np.nan], [0.9, 0.1]])
    np.testing.assert_array_equal(predicted_labels(scores, np.array([True, False, False])), [1, -1, -1])


def test_bootstrap_interval_is_that_of_a_binomial():
    truth = np.zeros(400, int)
    predicted = np.where(np.arange(400) < 300, 0, 1)
    low, high = bootstrap_interval(truth, predicted, accuracy, 2000, np.random.default_rng(0))
    half = 1.96 * np.sqrt(0.75 * 0.25 / 400)
    assert low == pytest.approx(0.75 - half, abs=0.007)
    assert high == pytest.approx(0.75 + half, abs=0.007)
    assert (low, high) == bootstrap_interval(truth, predicted, accuracy, 2000, np.random.default_rng(0))


def test_several_seeds_give_means_and_sums():
    truth = np.array([0, 0, 3, 3])
    predicted = np.array([[0, 0, 3, 1], [0, 1, NO_PREDICTION, 3]])
    assert accuracy(truth, predicted) == np.mean([accuracy(truth, one) for one in predicted]) == 0.625
    assert uar(truth, predicted) == np.mean([uar(truth, one) for one in predicted])
    np.testing.assert_array_equal(confusion(truth, predicted), sum(confusion(truth, one) for one in predicted))
    same = np.stack([predicted[0]] * 3)
    draws = [bootstrap_interval(truth, p, accuracy, 200, np.random.default_rng(1)) for p in (predicted[0], same)]
    assert draws[0] == draws[1]


@pytest.mark.parametrize(
    ("only_first", "only_second", "p"), [(0, 0, 1.0), (1, 0, 1.0), (0, 6, 2 / 2**6), (8, 2, 2 * (1 + 10 + 45) / 2**10)]
)
def test_mcnemar_is_the_exact_binomial_test_of_the_clips_that_only_one_has_right(only_first, only_second, p):
    both = [True] * 5 + [False] * 3
    first = np.array(both + [True] * only_first + [False] * only_second)
    second = np.array(both + [False] * only_first + [True] * only_second)
    assert mcnemar(first, second) == pytest.approx(p)
