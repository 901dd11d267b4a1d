"""Models that err otherwise than those there are: chosen among the best trials by their confusion matrices (3.4)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations, product
from pathlib import Path

import numpy as np
from jaxtyping import Float
from optuna.trial import FrozenTrial

from emotion_pipeline.data.scores import seed_folder
from emotion_pipeline.errors import UserError
from emotion_pipeline.metrics import confusion, predicted_labels
from emotion_pipeline.search.output import ranked
from emotion_pipeline.search.study import finished_trials, open_study
from emotion_pipeline.search.trial import Search, answers_on_val, trial_folder

MOST_SETS = 200_000
"""Sets of trials that are compared, all of them."""


@dataclass(frozen=True)
class Chosen:
    """A set of trials, one for each target, and how unlike its models and the present ones are."""

    trials: Mapping[str, FrozenTrial]
    dissimilarity: float
    best_alone: float  # of the set of the most accurate trials


def dissimilarity(matrices: Sequence[Float[np.ndarray, "7 7"]]) -> float:
    """Mean over all pairs of ||A - B||_F / sqrt(2 r): A and B with rows that sum to 1, r the rows that have clips.

    0 for equal matrices, 1 for models that never give the same answer to a class.
    """
    distances = []
    for a, b in combinations(matrices, 2):
        rows = max(int(((a.sum(axis=1) > 0) | (b.sum(axis=1) > 0)).sum()), 1)
        distances.append(np.linalg.norm(a - b) / np.sqrt(2 * rows))
    return float(np.mean(distances))


def choose_complementary(searches: Sequence[Search], present: Sequence[str], among: int) -> Chosen:
    """One of the `among` best trials of each search, so that they and the present models are as unlike as can be.

    `present`: temporal models in the folder of the searches' data. Raises UserError where a search has no finished
    trial, or where the sets are too many to compare.
    """
    kept = [_matrix_of(searches[0], searches[0].data / "train_temporal" / name) for name in present]
    folders = {search.target: _folder(search) for search in searches}
    trials = {target: ranked(finished_trials(open_study(folder)))[:among] for target, folder in folders.items()}
    for target, own in trials.items():
        if not own:
            raise UserError(f"search: no trial of {target} has ended well; run `search {target}` first")
    sets = list(product(*trials.values()))
    if len(sets) > MOST_SETS:
        raise UserError(f"search: {len(sets):,} sets to compare, more than {MOST_SETS:,}; lower --among ({among})")
    matrices = {
        (search.target, trial.number): _matrix_of(
            search, trial_folder(folders[search.target], trial.user_attrs["point"])
        )
        for search in searches
        for trial in trials[search.target]
    }
    worth = [dissimilarity([*kept, *(matrices[t, x.number] for t, x in zip(trials, own, strict=True))]) for own in sets]
    best = int(np.argmax(worth))
    return Chosen(dict(zip(trials, sets[best], strict=True)), worth[best], worth[0])


def _folder(search: Search) -> Path:
    folder = search.folder()
    if not (folder / "study.sqlite").is_file():
        raise UserError(f"search: nothing was searched for {search.target} with these parameters and data")
    return folder


def _matrix_of(search: Search, model: Path) -> Float[np.ndarray, "7 7"]:
    """Confusion on val of a model's folder, rows that sum to 1 (or to 0: no clip, or none with the modality)."""
    truth, scores, present = answers_on_val(search, seed_folder(model, search.seed))
    counts = confusion(truth, predicted_labels(scores, present)).astype(float)
    return counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
