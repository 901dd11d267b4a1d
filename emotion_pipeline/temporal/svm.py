"""The comparison for audio: a linear support vector machine on standardised features."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int
from scipy.special import softmax

from emotion_pipeline.emotions import EMOTIONS
from emotion_pipeline.metrics import accuracy


@dataclass(frozen=True)
class LinearSvm:
    """One-against-rest machines for the classes that occur in training: decision = features @ weight.T + bias."""

    weight: Float[np.ndarray, "c d"]
    bias: Float[np.ndarray, " c"]
    classes: Int[np.ndarray, " c"]


def fit_svm(features: Float[np.ndarray, "n d"], labels: Int[np.ndarray, " n"], c: float, seed: int) -> LinearSvm:
    """scikit-learn's LinearSVC with its defaults, `c` excepted."""
    from sklearn.svm import LinearSVC  # takes two seconds to import, and only this model needs it

    svc = LinearSVC(C=c, dual=True, random_state=seed, max_iter=20_000).fit(features, labels)
    weight, bias = svc.coef_, svc.intercept_
    if len(svc.classes_) == 2:  # then scikit-learn keeps only the machine of the second class
        weight, bias = np.concatenate([-weight, weight]), np.concatenate([-bias, bias])
    return LinearSvm(weight, bias, svc.classes_.astype(np.int64))


def svm_scores(svm: LinearSvm, features: Float[np.ndarray, "n d"]) -> Float[np.ndarray, "n 7"]:
    """Softmax of the decision values; 0 for classes without a training clip."""
    scores = np.zeros((len(features), len(EMOTIONS)))
    scores[:, svm.classes] = softmax(features @ svm.weight.T + svm.bias, axis=1)
    return scores


def choose_c(
    train: tuple[Float[np.ndarray, "n d"], Int[np.ndarray, " n"]],
    val: tuple[Float[np.ndarray, "v d"], Int[np.ndarray, " v"]],
    cs: Sequence[float],
    seed: int,
) -> tuple[LinearSvm, list[tuple[float, float]]]:
    """The machine with the best accuracy on val, the smallest C among equals; and (C, accuracy on val) of all."""
    tried: list[tuple[float, float]] = []
    machines = []
    for c in sorted(cs):
        machines.append(fit_svm(*train, c, seed))
        tried.append((c, accuracy(val[1], svm_scores(machines[-1], val[0]).argmax(axis=1))))
    return machines[int(np.argmax([value for _, value in tried]))], tried
