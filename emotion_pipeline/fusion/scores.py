"""Fusions of scores alone. n clips, m models, k classes.

All take a mask: the scores of a model that is absent from a clip are never read, the others' weights grow to sum to
one. A clip without any model gets a row of NaN.
"""

from itertools import combinations

import numpy as np
from jaxtyping import Bool, Float, Int
from numpy.random import Generator


def majority(scores: Float[np.ndarray, "n m k"], present: Bool[np.ndarray, "n m"]) -> Float[np.ndarray, "n k"]:
    """Each model votes for its best class; among classes with equal votes the one of the highest mean score wins.

    The result is (votes + mean score) / (voters + 1), which sums to one: a mean score never outweighs a vote.
    """
    ballots = np.eye(scores.shape[2])[_filled(scores, present).argmax(axis=2)]
    votes = _filled(ballots, present).sum(axis=1)
    return (votes + mean(scores, present)) / (present.sum(axis=1, keepdims=True) + 1)


def mean(scores: Float[np.ndarray, "n m k"], present: Bool[np.ndarray, "n m"]) -> Float[np.ndarray, "n k"]:
    """Mean over the models present."""
    return weighted_mean(scores, present, np.ones(scores.shape[1]))


def maximum(scores: Float[np.ndarray, "n m k"], present: Bool[np.ndarray, "n m"]) -> Float[np.ndarray, "n k"]:
    """Per class the highest score of the models present, divided by the sum over the classes."""
    highest = _filled(scores, present).max(axis=1)
    total = highest.sum(axis=1, keepdims=True)
    return highest / np.where(total > 0, total, np.nan)


def weighted_mean(
    scores: Float[np.ndarray, "n m k"], present: Bool[np.ndarray, "n m"], weights: Float[np.ndarray, " m"]
) -> Float[np.ndarray, "n k"]:
    """Weighted mean over the models present; the plain one where all of these have weight 0."""
    given = present * weights
    useless = given.sum(axis=1, keepdims=True) == 0
    given = np.where(useless, present, given)
    total = given.sum(axis=1, keepdims=True)
    return np.einsum("nm,nmk->nk", given / np.where(total > 0, total, np.nan), _filled(scores, present))


def simplex_grid(models: int, steps: int) -> Float[np.ndarray, "g m"]:
    """All weights i / steps that are not negative and sum to one."""
    places = steps + models - 1  # of stars and bars: the weights are the stars between neighbouring bars
    bars = np.array([(-1, *inner, places) for inner in combinations(range(places), models - 1)])
    return (np.diff(bars, axis=1) - 1) / steps


def stratified_folds(labels: Int[np.ndarray, " n"], folds: int, rng: Generator) -> Int[np.ndarray, " n"]:
    """Fold of each clip: every class, shuffled, is dealt out in turn, going on where the class before stopped."""
    order = rng.permutation(len(labels))
    order = order[np.argsort(labels[order], kind="stable")]
    fold = np.empty(len(labels), dtype=np.int64)
    fold[order] = np.arange(len(labels)) % folds
    return fold


def choose_weights(
    scores: Float[np.ndarray, "n m k"],
    present: Bool[np.ndarray, "n m"],
    labels: Int[np.ndarray, " n"],
    steps: int,
    folds: int,
    rng: Generator,
) -> tuple[Float[np.ndarray, " m"], float]:
    """Weights of the weighted mean by stratified cross-validation, and their accuracy on the folds held out.

    Without each fold in turn, the point of the simplex grid with the highest accuracy on the others is taken; among
    equals (with few clips, many) the one of the lowest mean negative log score. The result is the mean of the folds'
    weights: no one clip decides.
    """
    grid = simplex_grid(scores.shape[1], steps)
    right = np.empty((len(grid), len(labels)), dtype=bool)
    surprise = np.empty((len(grid), len(labels)))
    for point, weights in enumerate(grid):
        fused = weighted_mean(scores, present, weights)
        right[point] = fused.argmax(axis=1) == labels
        surprise[point] = -np.log(np.maximum(fused[np.arange(len(labels)), labels], 1e-9))
    fold = stratified_folds(labels, folds, rng)
    chosen, held_out = [], np.empty(len(labels), dtype=bool)
    for k in range(folds):
        others = fold != k
        hits = right[:, others].sum(axis=1)
        best = np.lexsort((surprise[:, others].mean(axis=1), -hits))[0]
        chosen.append(grid[best])
        held_out[~others] = right[best, ~others]
    return np.mean(chosen, axis=0), float(held_out.mean())


def _filled(scores: Float[np.ndarray, "n m k"], present: Bool[np.ndarray, "n m"]) -> Float[np.ndarray, "n m k"]:
    return np.where(present[:, :, None], scores, 0)
