"""What holds for all seven fusions alike."""

from collections.abc import Callable

import numpy as np
import pytest
import torch

from emotion_pipeline.fusion.networks import ModDropFusion, ScoreTree
from emotion_pipeline.fusion.scores import RULES, choose_svm, choose_weights, svm_inputs, weighted_mean
from emotion_pipeline.params import FusionParams
from emotion_pipeline.training.svm import svm_scores

WIDTHS = {"face": 4, "c3d": 3, "audio": 5}
N = 35
Data = tuple[dict[str, np.ndarray], np.ndarray, np.ndarray]  # descriptors, scores, present


def data() -> Data:
    """Clips that lack no model, one or two of them; what is absent holds numbers."""
    rng = np.random.default_rng(0)
    present = rng.random((N, 3)) < 0.6
    present[np.arange(N), rng.choice(3, N)] = True
    descriptors = {name: rng.standard_normal((N, width)).astype(np.float32) for name, width in WIDTHS.items()}
    return descriptors, rng.dirichlet(np.ones(7), (N, 3)).astype(np.float32), present


def spoiled(descriptors: dict[str, np.ndarray], scores: np.ndarray, present: np.ndarray) -> Data:
    """NaN in all that is absent."""
    there = {name: present[:, [i]] for i, name in enumerate(WIDTHS)}
    return (
        {name: np.where(there[name], values, np.nan) for name, values in descriptors.items()},
        np.where(present[:, :, None], scores, np.nan),
        present,
    )


def rows(chosen: np.ndarray, descriptors: dict[str, np.ndarray], scores: np.ndarray, present: np.ndarray) -> Data:
    return {name: values[chosen] for name, values in descriptors.items()}, scores[chosen], present[chosen]


def scores_only(name: str, fitted_on: Data) -> Callable[..., np.ndarray]:
    return lambda descriptors, scores, present: RULES[name](scores, present)


def weighted(name: str, fitted_on: Data) -> Callable[..., np.ndarray]:
    _, scores, present = fitted_on
    weights, _ = choose_weights(scores, present, np.arange(N) % 7, 10, 5, 1)
    return lambda descriptors, scores, present: weighted_mean(scores, present, weights)


def machine(name: str, fitted_on: Data) -> Callable[..., np.ndarray]:
    _, scores, present = fitted_on
    svm, _ = choose_svm(scores, present, np.arange(N) % 7, [0.1, 1.0], 5, 1)
    return lambda descriptors, scores, present: svm_scores(svm, svm_inputs(scores, present))


def network(name: str, fitted_on: Data) -> Callable[..., np.ndarray]:
    torch.manual_seed(0)
    if name == "moddrop":
        model = ModDropFusion(WIDTHS, 4, 0.5, 0.5, blocked=False).eval()
    else:
        model = ScoreTree(WIDTHS, 6, 0.5, 0.5).eval()
    with torch.no_grad():
        for values in model.parameters():
            values.mul_(5)  # a tree at random weights hardly depends on what it is given

    def fuse(descriptors: dict[str, np.ndarray], scores: np.ndarray, present: np.ndarray) -> np.ndarray:
        given = {m: torch.from_numpy(values) for m, values in descriptors.items()}
        said = {m: torch.from_numpy(scores[:, i]) for i, m in enumerate(WIDTHS)}
        with torch.no_grad():
            return model(given, said, torch.from_numpy(present)).softmax(dim=1).numpy()

    return fuse


MAKERS = {"svm": machine, "weighted_mean": weighted, "moddrop": network, "score_tree": network}
MAKERS |= dict.fromkeys(RULES, scores_only)
METHODS = tuple(MAKERS)


def test_all_fusions_are_here():
    kinds = FusionParams.__origin__.__args__
    assert {name for kind in kinds for name in kind.model_fields["method"].annotation.__args__} == set(METHODS)
    assert len(METHODS) == 7


@pytest.mark.parametrize("method", METHODS)
def test_nan_in_an_absent_modality_changes_no_fused_score(method):
    given = data()
    expected = MAKERS[method](method, given)(*given)
    result = MAKERS[method](method, spoiled(*given))(*spoiled(*given))
    assert np.isfinite(expected).all()
    np.testing.assert_array_equal(result, expected)


@pytest.mark.parametrize("method", METHODS)
def test_the_order_and_the_neighbours_of_a_clip_change_nothing(method):
    given = data()
    fuse = MAKERS[method](method, given)
    expected = fuse(*given)
    order = np.random.default_rng(1).permutation(N)
    np.testing.assert_allclose(fuse(*rows(order, *given)), expected[order], atol=1e-5)
    alone = [fuse(*rows(np.array([i]), *given))[0] for i in range(N)]
    np.testing.assert_allclose(alone, expected, atol=1e-5)


@pytest.mark.parametrize("method", METHODS)
def test_a_present_modality_changes_the_fused_scores(method):
    """So that the two facts above are not those of a fusion that reads nothing."""
    descriptors, scores, present = data()
    fuse = MAKERS[method](method, (descriptors, scores, present))
    other = {name: values[::-1].copy() for name, values in descriptors.items()}, scores[::-1].copy(), present
    assert np.abs(fuse(*other) - fuse(descriptors, scores, present)).max() > 0.02
