"""A linear support vector machine: of temporal models, the comparison for audio, and of fusions."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, Int
from scipy.special import softmax

from emotion_pipeline.emotions import EMOTIONS

Folds = list[tuple[Int[np.ndarray, " _"], Int[np.ndarray, " _"]]]
"""Rows that a machine is fitted on, and rows that judge it."""


class LinearSvm(NamedTuple):
    """One-against-rest machines for the classes that occur in training: decision = features @ weight.T + bias."""

    weight: Float[np.ndarray, "c d"]
    bias: Float[np.ndarray, " c"]
    classes: Int[np.ndarray, " c"]

    @classmethod
    def of(cls, tensors: Mapping[str, np.ndarray]) -> "LinearSvm":
        """Return the machine in the tensors of a trained model."""
        return cls(*(tensors[f"model.{name}"] for name in cls._fields))

    def tensors(self) -> dict[str, np.ndarray]:
        """Return the machine as tensors of a trained model."""
        return {f"model.{name}": values for name, values in self._asdict().items()}


def fit_svm(features: Float[np.ndarray, "n d"], labels: Int[np.ndarray, " n"], c: float, seed: int) -> LinearSvm:
    """Return scikit-learn's LinearSVC, fitted, with its defaults but for `c`."""
    svc = _svc(c, seed).fit(features, labels)
    weight, bias = svc.coef_, svc.intercept_
    if len(svc.classes_) == 2:  # then scikit-learn keeps only the machine of the second class
        weight, bias = np.concatenate([-weight, weight]), np.concatenate([-bias, bias])
    return LinearSvm(weight, bias, svc.classes_.astype(np.int64))


def _svc(c: float, seed: int) -> Any:
    from sklearn.svm import LinearSVC  # takes two seconds to import, and only this model needs it

    return LinearSVC(C=c, dual=True, random_state=seed, max_iter=20_000)


def svm_scores(svm: LinearSvm, features: Float[np.ndarray, "n d"]) -> Float[np.ndarray, "n 7"]:
    """Return the softmax of the decision values; 0 for classes without a training clip."""
    scores = np.zeros((len(features), len(EMOTIONS)))
    scores[:, svm.classes] = softmax(features @ svm.weight.T + svm.bias, axis=1)
    return scores


def choose_c(
    features: Float[np.ndarray, "n d"], labels: Int[np.ndarray, " n"], cs: Sequence[float], splits: Folds, seed: int
) -> tuple[float, list[tuple[float, float]]]:
    """Return the C of the highest mean accuracy, the smallest of equals; and each C, rising, with its accuracy."""
    from sklearn.model_selection import GridSearchCV

    search = GridSearchCV(_svc(1.0, seed), {"C": sorted(cs)}, cv=splits, refit=False).fit(features, labels)
    tried = list(zip(sorted(map(float, cs)), search.cv_results_["mean_test_score"].tolist(), strict=True))
    return float(search.best_params_["C"]), tried
