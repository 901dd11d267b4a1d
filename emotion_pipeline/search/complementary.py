"""Models that err unlike the present ones, chosen among the best trials by their confusion matrices (section 3.4)."""

import logging
from collections.abc import Sequence
from itertools import combinations, product
from math import prod
from pathlib import Path

import numpy as np
from jaxtyping import Float
from optuna.trial import FrozenTrial
from sklearn.metrics import confusion_matrix

from emotion_pipeline.data.scores import seed_folder
from emotion_pipeline.emotions import EMOTIONS
from emotion_pipeline.errors import UserError
from emotion_pipeline.metrics import predicted_labels
from emotion_pipeline.search.grid import Search
from emotion_pipeline.search.output import described, ranked, write_params
from emotion_pipeline.search.study import answers_on_val, ended_trials, trial_folder

log = logging.getLogger(__name__)

MOST_SETS = 200_000
"""Sets of trials that can be compared."""


def dissimilarity(matrices: Sequence[Float[np.ndarray, "7 7"]]) -> float:
    """Return the mean over all pairs of ||A - B||_F / sqrt(2 r): rows of A and B sum to 1, r of them have clips.

    0 for equal matrices, 1 for models that never give the same answer to a class.
    """
    pairs = list(combinations(matrices, 2))
    rows = [max((a + b).any(axis=1).sum(), 1) for a, b in pairs]
    return float(np.mean([np.linalg.norm(a - b) / np.sqrt(2 * r) for (a, b), r in zip(pairs, rows, strict=True)]))


def write_complementary(
    target: Path, searches: Sequence[Search], present: Sequence[str], among: int, params: Path
) -> list[FrozenTrial]:
    """Choose trials, and write params.yaml with their values as entries `..._b`. Raises UserError as the choice."""
    chosen = choose_complementary(searches, present, among)
    changes = {}
    for search, trial in zip(searches, chosen, strict=True):
        log.info("%s: %s", search.target, described(search, trial))
        changes[f"{search.target}_b"] = search.point(trial.user_attrs["point"])
    target.parent.mkdir(parents=True, exist_ok=True)
    write_params(target, changes, params)
    log.info("as entries ..._b: diff %s %s", params, target)
    return chosen


def choose_complementary(searches: Sequence[Search], present: Sequence[str], among: int) -> list[FrozenTrial]:
    """Return one of the `among` best trials of each search, so that they and the present models are most unlike.

    `present`: temporal models in the folder of the searches' data. Raises UserError for an unknown one, where a search
    has no trial that ended well, and where the sets are too many to compare.
    """
    known = searches[0].params.train_temporal
    if unknown := [name for name in present if name not in known]:
        raise UserError(f"--present: {unknown[0]} is not among {', '.join(known)}")
    best = [_best(search, among) for search in searches]
    if (count := prod(map(len, best))) > MOST_SETS:
        raise UserError(f"search: {count:,} sets to compare, more than {MOST_SETS:,}; lower --among ({among})")
    kept = [_matrix_of(searches[0], searches[0].data / "train_temporal" / name) for name in present]
    sets = list(product(*best))
    worth = [dissimilarity([*kept, *(matrix for _, matrix in own)]) for own in sets]
    most = int(np.argmax(worth))
    log.info("mean dissimilarity %.3f; of the best trials alone %.3f", worth[most], worth[0])
    return [trial for trial, _ in sets[most]]


def _best(search: Search, among: int) -> list[tuple[FrozenTrial, Float[np.ndarray, "7 7"]]]:
    """Return the best trials of a search, with their confusion. Raises UserError where there is none."""
    folder = search.folder()
    best = ranked(ended_trials(folder))[:among] if (folder / "study.sqlite").is_file() else []
    if not best:
        raise UserError(f"search: no trial of {search.target} has ended well; run `search {search.target}` first")
    return [(trial, _matrix_of(search, trial_folder(folder, trial.user_attrs["point"]))) for trial in best]


def _matrix_of(search: Search, model: Path) -> Float[np.ndarray, "7 7"]:
    """Return the confusion on val of a model's folder, rows that sum to 1 (0: no clip, or none with the modality)."""
    truth, scores, present = answers_on_val(search, seed_folder(model, search.seed))
    return confusion_matrix(truth, predicted_labels(scores, present), labels=range(len(EMOTIONS)), normalize="true")
