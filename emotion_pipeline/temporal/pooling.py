"""Without a sequence model: the scores of a clip's frames or windows (t, 7), pooled into one (7,)."""

from collections.abc import Callable

import numpy as np
from jaxtyping import Float

Scores = Float[np.ndarray, "t k"]
Pooled = Float[np.ndarray, " k"]


def maximum(scores: Scores) -> Pooled:
    """Return per class the highest score over time, divided by their sum ("maximum of the scores", table 2)."""
    highest = scores.max(axis=0)
    return highest / highest.sum()


def mean(scores: Scores) -> Pooled:
    """Return the mean over time: its maximum is the prediction."""
    return scores.mean(axis=0)


def majority(scores: Scores) -> Pooled:
    """Return the votes of frames or windows for their best class; among equal votes the higher mean score wins."""
    votes = np.bincount(scores.argmax(axis=1), minlength=scores.shape[1])
    return (votes + mean(scores)) / (len(scores) + 1)


def most_certain(scores: Scores) -> Pooled:
    """Return the scores of the window with the maximal softmax score of the video (section 3.2.2)."""
    return scores[scores.max(axis=1).argmax()]


def central(scores: Scores) -> Pooled:
    """Return the scores of the window in the middle, the later one of two."""
    return scores[len(scores) // 2]


POOLINGS: dict[str, Callable[[Scores], Pooled]] = {
    pooling.__name__: pooling for pooling in (maximum, mean, majority, most_certain, central)
}
"""By the name in `pooling`."""
