import numpy as np
import pytest

from emotion_pipeline.errors import UserError
from emotion_pipeline.fusion import scores as fusions_of_scores
from emotion_pipeline.fusion.scores import (
    best_weights,
    choose_svm,
    choose_weights,
    majority,
    maximum,
    mean,
    simplex_grid,
    stratified_folds,
    svm_inputs,
    weighted_mean,
)
from emotion_pipeline.training.svm import svm_scores

ALL3 = np.ones((1, 3), bool)


def one(*rows: list[float]) -> np.ndarray:
    return np.array([rows])


def test_majority_counts_votes_not_confidence():
    scores = one([0.4, 0.3, 0.3], [0.4, 0.3, 0.3], [0.0, 0.0, 1.0])
    assert majority(scores, ALL3).argmax() == 0
    assert mean(scores, ALL3).argmax() == 2


def test_majority_tie_goes_to_the_highest_mean_score():
    scores = one([0.6, 0.4, 0.0], [0.0, 0.9, 0.1], [0.0, 0.3, 0.7])
    fused = majority(scores, ALL3)
    assert fused.argmax() == 1
    np.testing.assert_allclose(fused, [[(1 + 0.2) / 4, (1 + 1.6 / 3) / 4, (1 + 0.8 / 3) / 4]])


def test_closed_forms():
    scores = one([0.5, 0.25, 0.25], [0.1, 0.1, 0.8], [0.2, 0.6, 0.2])
    np.testing.assert_allclose(mean(scores, ALL3), [[0.8 / 3, 0.95 / 3, 1.25 / 3]])
    np.testing.assert_allclose(maximum(scores, ALL3), np.array([[0.5, 0.6, 0.8]]) / 1.9)
    np.testing.assert_allclose(weighted_mean(scores, ALL3, np.array([0.5, 0.5, 0.0])), [[0.3, 0.175, 0.525]])


def fusions():
    weights = np.array([0.2, 0.3, 0.5])
    return [majority, mean, maximum, lambda s, p: weighted_mean(s, p, weights)]


@pytest.mark.parametrize("fusion", fusions())
def test_absent_models_are_left_out_and_never_read(fusion):
    scores = np.random.default_rng(0).dirichlet(np.ones(7), (5, 3))
    present = np.ones((5, 3), bool)
    present[:, 1] = False
    spoiled = scores.copy()
    spoiled[:, 1] = np.nan
    fused = fusion(spoiled, present)
    np.testing.assert_array_equal(fused, fusion(scores, present))
    np.testing.assert_allclose(fused.sum(axis=1), 1)
    assert not np.allclose(fused, fusion(scores, np.ones((5, 3), bool)))


def test_weights_of_the_rest_are_renormalised():
    scores = one([1.0, 0.0], [np.nan, np.nan], [0.0, 1.0])
    present = np.array([[True, False, True]])
    np.testing.assert_allclose(weighted_mean(scores, present, np.array([0.2, 0.6, 0.2])), [[0.5, 0.5]])
    # only models of weight 0 are left: their plain mean
    np.testing.assert_allclose(weighted_mean(scores, present, np.array([0.0, 1.0, 0.0])), [[0.5, 0.5]])


@pytest.mark.parametrize("fusion", fusions())
def test_nothing_present_gives_nan(fusion):
    assert np.isnan(fusion(np.full((1, 3, 7), np.nan), np.zeros((1, 3), bool))).all()


def test_simplex_grid_is_complete():
    grid = simplex_grid(3, 4)
    expected = {(a, b, 4 - a - b) for a in range(5) for b in range(5 - a)}
    assert {tuple(row) for row in (grid * 4).round().astype(int)} == expected
    assert len(grid) == len(expected) == 15
    assert simplex_grid(1, 10).tolist() == [[1.0]]
    assert len(simplex_grid(4, 10)) == 286


def test_every_class_is_spread_over_the_folds():
    labels = np.repeat(np.arange(7), [5, 6, 7, 8, 9, 11, 3])  # of the last one some folds have none
    folds = stratified_folds(labels, 5, 2)
    assert np.sort(np.concatenate([fold for _, fold in folds])).tolist() == list(range(len(labels)))
    assert all(set(others) | set(fold) == set(range(len(labels))) for others, fold in folds)
    counts = np.array([[np.sum(labels[fold] == c) for _, fold in folds] for c in range(7)])
    assert (np.ptp(counts, axis=1) <= 1).all()
    assert [fold.tolist() for _, fold in stratified_folds(labels, 5, 3)] != [fold.tolist() for _, fold in folds]


def test_more_folds_than_clips_of_any_class_are_refused():
    with pytest.raises(UserError, match="folds: 4, but no class of val has so many clips; lower it"):
        stratified_folds(np.repeat(np.arange(7), 3), 4, 1)


def made_case(rng: np.random.Generator, n: int = 120) -> tuple[np.ndarray, np.ndarray]:
    """Model 0 knows classes 0 to 2, model 2 classes 3 to 6, model 1 is sure of nonsense."""
    labels = rng.choice(7, n)
    scores = np.full((n, 3, 7), 1 / 7)
    for model, known in ((0, labels < 3), (2, labels >= 3)):
        scores[known, model] = 0.02 + 0.86 * np.eye(7)[labels[known]]
    scores[:, 1] = 0.02 + 0.86 * np.eye(7)[rng.choice(7, n)]
    return scores, labels


def test_weights_are_found():
    rng = np.random.default_rng(4)
    scores, labels = made_case(rng)
    weights, held_out = choose_weights(scores, np.ones((120, 3), bool), labels, 10, 5, 4)
    np.testing.assert_allclose(weights.sum(), 1)
    assert weights[1] < 0.05
    assert min(weights[0], weights[2]) > 0.2
    assert held_out == 1.0


def test_greedy_selection_is_on_the_grid_never_above_its_best_point_and_finds_the_made_case(monkeypatch):
    rng = np.random.default_rng(4)
    scores, labels = made_case(rng)
    cases = [(scores, labels), *((rng.dirichlet(np.ones(7), (40, 3)), rng.choice(7, 40)) for _ in range(5))]
    for values, truth in cases:
        present = rng.random(values.shape[:2]) < 0.9
        exact = best_weights(values, present, truth, 10)
        with monkeypatch.context() as patch:
            patch.setattr(fusions_of_scores, "MOST_POINTS", 65)  # three models in tenths: 66
            greedy = best_weights(values, present, truth, 10)
        assert greedy.sum() == pytest.approx(1)
        np.testing.assert_allclose(greedy * 10, (greedy * 10).round(), atol=1e-9)
        right = [(weighted_mean(values, present, w).argmax(1) == truth).mean() for w in (exact, greedy)]
        assert right[1] <= right[0]
        if values is scores:
            assert right[0] == right[1]


def test_of_many_models_the_one_that_is_always_right_gets_the_most_weight():
    rng = np.random.default_rng(2)
    labels = rng.choice(7, 60)
    scores = rng.dirichlet(np.ones(7), (60, 12))  # 646,646 points in tenths
    scores[:, 5] = 0.02 + 0.86 * np.eye(7)[labels]
    assert best_weights(scores, np.ones((60, 12), bool), labels, 10).tolist() == np.eye(12)[5].tolist()


def test_the_svm_learns_which_model_knows_which_class():
    rng = np.random.default_rng(4)
    scores, labels = made_case(rng)
    present = np.ones((120, 3), bool)
    svm, tried = choose_svm(scores, present, labels, [10.0, 0.1], 5, 1)
    assert [c for c, _ in tried] == [0.1, 10.0]
    assert tried[-1][1] > 0.95
    new, truth = made_case(np.random.default_rng(5))
    assert (svm_scores(svm, svm_inputs(new, present)).argmax(axis=1) == truth).mean() > 0.95


def test_an_svm_of_one_class_is_refused_by_name():
    scores, labels = np.full((4, 2, 7), 1 / 7), np.array([3, 3, 3, 5])
    with pytest.raises(UserError, match="folds: with 2, the 4 clips of val outside one of them are all of one class"):
        choose_svm(scores, np.ones((4, 2), bool), labels, [1.0], 2, 1)


def test_held_out_accuracy_is_not_that_of_the_choice():
    """Pure noise, few clips: the best point is far above chance on what it was chosen on, not on the fold held out."""
    rng = np.random.default_rng(0)
    values = [
        choose_weights(
            rng.dirichlet(np.ones(7), (14, 4)), np.ones((14, 4), bool), np.repeat(np.arange(7), 2), 6, 2, seed
        )[1]
        for seed in range(20)
    ]
    assert np.mean(values) < 0.25
