"""The comparison for audio: a linear support vector machine on standardised features."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float, Int
from scipy.special import softmax

from emotion_pipeline.emotions import EMOTIONS

if TYPE_CHECKING:
    from sklearn.svm import LinearSVC


@dataclass(frozen=True)
class LinearSvm:
    """One-against-rest machines for the classes that occur in training: decision = features @ weight.T + bias."""

    weight: Float[np.ndarray, "c d"]
    bias: Float[np.ndarray, " c"]
    classes: Int[np.ndarray, " c"]

    @classmethod
    def of(cls, tensors: Mapping[str, np.ndarray]) -> "LinearSvm":
        """Return the machine in the tensors of a trained model."""
        return cls(*(tensors[f"model.{name}"] for name in ("weight", "bias", "classes")))

    def tensors(self) -> dict[str, np.ndarray]:
        """Return the machine as tensors of a trained model."""
        return {"model.weight": self.weight, "model.bias": self.bias, "model.classes": self.classes}


def fit_svm(features: Float[np.ndarray, "n d"], labels: Int[np.ndarray, " n"], c: float, seed: int) -> LinearSvm:
    """Return scikit-learn's LinearSVC, fitted, with its defaults but for `c`."""
    svc = _svc(c, seed).fit(features, labels)
    weight, bias = svc.coef_, svc.intercept_
    if len(svc.classes_) == 2:  # then scikit-learn keeps only the machine of the second class
        weight, bias = np.concatenate([-weight, weight]), np.concatenate([-bias, bias])
    return LinearSvm(weight, bias, svc.classes_.astype(np.int64))


def _svc(c: float, seed: int) -> "LinearSVC":
    from sklearn.svm import LinearSVC  # takes two seconds to import, and only this model needs it

    return LinearSVC(C=c, dual=True, random_state=seed, max_iter=20_000)


def svm_scores(svm: LinearSvm, features: Float[np.ndarray, "n d"]) -> Float[np.ndarray, "n 7"]:
    """Return the softmax of the decision values; 0 for classes without a training clip."""
    scores = np.zeros((len(features), len(EMOTIONS)))
    scores[:, svm.classes] = softmax(features @ svm.weight.T + svm.bias, axis=1)
    return scores


def fit_chosen_c(
    train: tuple[Float[np.ndarray, "n d"], Int[np.ndarray, " n"]],
    val: tuple[Float[np.ndarray, "v d"], Int[np.ndarray, " v"]],
    cs: Sequence[float],
    seed: int,
) -> tuple[LinearSvm, list[tuple[float, float]]]:
    """Return the machine with the best accuracy on val, the smallest C among equals; and (C, accuracy) of all tried."""
    from sklearn.model_selection import PredefinedSplit

    features, labels = (np.concatenate(pair) for pair in zip(train, val, strict=True))
    fold = np.repeat([-1, 0], [len(train[1]), len(val[1])])  # -1: never in the part that judges
    tried = accuracy_by_c(features, labels, cs, PredefinedSplit(fold), seed)
    return fit_svm(*train, best_c(tried), seed), tried


def accuracy_by_c(
    features: Float[np.ndarray, "n d"], labels: Int[np.ndarray, " n"], cs: Sequence[float], splits: Any, seed: int
) -> list[tuple[float, float]]:
    """Return each C, rising, with its mean accuracy over the parts that `splits` (of scikit-learn) keeps back."""
    from sklearn.model_selection import GridSearchCV

    search = GridSearchCV(_svc(1.0, seed), {"C": sorted(cs)}, cv=splits, refit=False).fit(features, labels)
    return list(zip(sorted(map(float, cs)), search.cv_results_["mean_test_score"].tolist(), strict=True))


def best_c(tried: Sequence[tuple[float, float]]) -> float:
    """Return the C of the highest accuracy, the smallest of equals."""
    return max(tried, key=lambda pair: (pair[1], -pair[0]))[0]
