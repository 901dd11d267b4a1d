"""Accuracy, UAR, confusion matrix and intervals: pure functions of arrays of class indices.

A prediction of `NO_PREDICTION` (the modality is absent from the clip) is never right. Where predictions or scores
have a leading axis, they are those of a model trained with several seeds: numbers are means over them, counts sums.
"""

from collections.abc import Callable

import numpy as np
from jaxtyping import Bool, Float, Int
from numpy.random import Generator
from scipy.stats import binomtest

from emotion_pipeline.emotions import EMOTIONS

NO_PREDICTION = -1

Truth = Int[np.ndarray, " n"]
Predicted = Int[np.ndarray, "*s n"]
Scores = Float[np.ndarray, "*s n k"]
Mask = Bool[np.ndarray, " n"]


def predicted_labels(scores: Scores, present: Mask) -> Predicted:
    """Return the class of the highest score (the first of equal ones), `NO_PREDICTION` where the modality is absent."""
    best = np.where(present[:, None], scores, 0).argmax(axis=-1)
    return np.where(present, best, NO_PREDICTION)


def accuracy(truth: Truth, predicted: Predicted) -> float:
    """Return the share of right predictions. Raises ValueError for no clips at all."""
    _refuse_empty(truth)
    return float((truth == predicted).mean())


def uar(truth: Truth, predicted: Predicted) -> float:
    """Return the unweighted average recall: the mean of the share of right predictions over the classes that occur."""
    _refuse_empty(truth)
    right = truth == predicted
    return float(np.mean([right[..., truth == label].mean() for label in np.unique(truth)]))


def confusion(truth: Truth, predicted: Predicted) -> Int[np.ndarray, "7 7"]:
    """Return counts, rows true and columns predicted (figure 7). Clips without a prediction are in no cell."""
    counts = np.zeros((len(EMOTIONS), len(EMOTIONS)), dtype=np.int64)
    made = predicted != NO_PREDICTION
    np.add.at(counts, (np.broadcast_to(truth, predicted.shape)[made], predicted[made]), 1)
    return counts


def bootstrap_interval(
    truth: Truth, predicted: Predicted, metric: Callable[[Truth, Predicted], float], samples: int, rng: Generator
) -> tuple[float, float]:
    """Return the 95 % percentile interval of a metric over clips drawn with replacement."""
    _refuse_empty(truth)
    draws = rng.integers(0, len(truth), (samples, len(truth)))
    low, high = np.quantile([metric(truth[d], predicted[..., d]) for d in draws], [0.025, 0.975])
    return float(low), float(high)


def mcnemar(first: Mask, second: Mask) -> float:
    """Return p of McNemar's exact test that two models are right equally often, from the clips in which one is right.

    `first` and `second`: whether each model is right, for the same clips. 1 where both are right in the same ones.
    """
    only_one = int((first ^ second).sum())
    return float(binomtest(int((first & ~second).sum()), only_one).pvalue) if only_one else 1.0


def _refuse_empty(truth: Truth) -> None:
    if not len(truth):
        raise ValueError("a metric of no clips: the split has no labelled clip")
