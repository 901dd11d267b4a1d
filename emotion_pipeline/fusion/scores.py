"""Fusions of scores alone. n clips, m models, k classes.

All take a mask: the scores of a model that is absent from a clip are never read, the others' weights grow to sum to
one. A clip without any model gets a row of NaN.
"""

import warnings
from collections.abc import Sequence
from itertools import combinations
from math import comb

import numpy as np
from jaxtyping import Bool, Float, Int

from emotion_pipeline.errors import UserError
from emotion_pipeline.training.svm import Folds, LinearSvm, choose_c, fit_svm

Scores = Float[np.ndarray, "n m k"]
Present = Bool[np.ndarray, "n m"]
Labels = Int[np.ndarray, " n"]
Weights = Float[np.ndarray, " m"]
Fused = Float[np.ndarray, "n k"]

MOST_POINTS = 20_000
"""Of a grid of weights, all of which are tried: seven models in steps of a tenth have 8,008, ten have 92,378."""


def majority(scores: Scores, present: Present) -> Fused:
    """Return (votes + mean score) / (voters + 1), which sums to one: a mean score never outweighs a vote.

    Each model votes for its best class; among classes with equal votes the one of the highest mean score wins.
    """
    ballots = np.eye(scores.shape[2])[_filled(scores, present).argmax(axis=2)]
    votes = _filled(ballots, present).sum(axis=1)
    return (votes + mean(scores, present)) / (present.sum(axis=1, keepdims=True) + 1)


def mean(scores: Scores, present: Present) -> Fused:
    """Return the mean over the models present."""
    return weighted_mean(scores, present, np.ones(scores.shape[1]))


def maximum(scores: Scores, present: Present) -> Fused:
    """Return per class the highest score of the models present, divided by the sum over the classes."""
    highest = _filled(scores, present).max(axis=1)
    total = highest.sum(axis=1, keepdims=True)
    return highest / np.where(total > 0, total, np.nan)


def weighted_mean(scores: Scores, present: Present, weights: Weights) -> Fused:
    """Return the weighted mean over the models present; the plain one where all of these have weight 0."""
    given = present * weights
    given = np.where(given.sum(axis=1, keepdims=True) == 0, present, given)
    total = given.sum(axis=1, keepdims=True)
    return np.einsum("nm,nmk->nk", given / np.where(total > 0, total, np.nan), _filled(scores, present))


def simplex_grid(models: int, steps: int) -> Float[np.ndarray, "g m"]:
    """Return all weights i / steps that are not negative and sum to one."""
    places = steps + models - 1  # of stars and bars: the weights are the stars between neighbouring bars
    bars = np.array([(-1, *inner, places) for inner in combinations(range(places), models - 1)])
    return (np.diff(bars, axis=1) - 1) / steps


def stratified_folds(labels: Labels, folds: int, seed: int) -> Folds:
    """Return rows outside and inside of each fold, by scikit-learn's StratifiedKFold.

    Raises UserError where no class has a clip for every fold, or the clips outside one are all of one class.
    """
    from sklearn.model_selection import StratifiedKFold

    if np.bincount(labels).max(initial=0) < folds:
        raise UserError(f"folds: {folds}, but no class of val has so many clips; lower it")
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="The least populated class")  # a small class misses some folds
        splits = list(StratifiedKFold(folds, shuffle=True, random_state=seed).split(labels, labels))
    if any(len(np.unique(labels[others])) < 2 for others, _ in splits):
        raise UserError(f"folds: with {folds}, the {len(labels)} clips of val outside one of them are all of one class")
    return splits


def choose_weights(
    scores: Scores, present: Present, labels: Labels, steps: int, folds: int, seed: int
) -> tuple[Weights, float]:
    """Return weights of the weighted mean by stratified cross-validation, and their accuracy on the folds kept back.

    The result is the mean of the `best_weights` without each fold in turn: no one clip decides.
    """
    chosen, right = [], np.empty(len(labels), dtype=bool)
    for others, fold in stratified_folds(labels, folds, seed):
        chosen.append(best_weights(scores[others], present[others], labels[others], steps))
        right[fold] = weighted_mean(scores[fold], present[fold], chosen[-1]).argmax(axis=1) == labels[fold]
    return np.mean(chosen, axis=0), float(right.mean())


def best_weights(scores: Scores, present: Present, labels: Labels, steps: int) -> Weights:
    """Return the point of the simplex grid of the highest accuracy; of equals that of the lowest loss, then the first.

    A grid of more than `MOST_POINTS` is not searched whole, but by greedy selection with replacement (Caruana et al.
    2004, "Ensemble selection from libraries of models", section 2): `steps` times, the model is added, once more or for
    the first time, with which the mean over those chosen so far is best.
    """
    models = scores.shape[1]
    if comb(steps + models - 1, steps) <= MOST_POINTS:
        grid = simplex_grid(models, steps)
        return grid[_best_of(scores, present, labels, grid)]
    counts = np.zeros(models)
    for _ in range(steps):
        counts[_best_of(scores, present, labels, counts + np.eye(models))] += 1
    return counts / steps


def _best_of(scores: Scores, present: Present, labels: Labels, weights: Float[np.ndarray, "g m"]) -> int:
    """Return which weights give the highest accuracy; of equals the ones of the lowest mean negative log score."""
    right, nll = np.empty(len(weights)), np.empty(len(weights))
    for g, own in enumerate(weights):
        fused = weighted_mean(scores, present, own)
        right[g] = (fused.argmax(axis=1) == labels).sum()
        nll[g] = -np.log(np.maximum(fused[np.arange(len(labels)), labels], 1e-9)).mean()
    return int(np.lexsort((nll, -right))[0])


def choose_svm(
    scores: Scores, present: Present, labels: Labels, cs: Sequence[float], folds: int, seed: int
) -> tuple[LinearSvm, list[tuple[float, float]]]:
    """Return a linear SVM on the scores of all models, side by side; and (C, mean accuracy on the folds) of all tried.

    C is chosen in stratified cross-validation, the machine fitted on all clips. Raises UserError as `stratified_folds`.
    """
    values = svm_inputs(scores, present)
    c, tried = choose_c(values, labels, cs, stratified_folds(labels, folds, seed), seed)
    return fit_svm(values, labels, c, seed), tried


def svm_inputs(scores: Scores, present: Present) -> Float[np.ndarray, "n mk"]:
    """Return the scores of all models side by side, zeros for an absent one."""
    return _filled(scores, present).reshape(len(scores), -1)


def _filled(scores: Scores, present: Present) -> Scores:
    return np.where(present[:, :, None], scores, 0)


RULES = {"majority": majority, "max": maximum, "mean": mean}
"""Fusions without parameters, by `method`."""
