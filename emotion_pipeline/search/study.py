"""The trials of a search: an Optuna study in an sqlite file that several workers, now and later, go on with.

A point of the grid is one task of the worker pool: a killed worker costs its point a second try, and no finished one.
Whoever tries a point holds its lock file, so that two commands in two terminals share a search.

Optuna 5.0 has a grid sampler, a queue, a heartbeat and a retry. They do not keep these promises: two workers can get
the same queued trial from sqlite (7 of 60 trials ran twice with four workers); `GridSampler` gives the last points to
two workers, and never returns to a point whose trial was interrupted; a worker that is killed before its first
heartbeat counts as alive for ever.
"""

import fcntl
import logging
import os
import shutil
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import torch
from jaxtyping import Bool, Float, Int
from optuna.distributions import BaseDistribution, CategoricalDistribution
from optuna.trial import FrozenTrial, TrialState, create_trial

from emotion_pipeline.data.manifest import labels_of
from emotion_pipeline.data.scores import read_scores, rows_of, seed_folder
from emotion_pipeline.errors import UserError
from emotion_pipeline.fusion.train import fuse
from emotion_pipeline.metrics import accuracy, predicted_labels
from emotion_pipeline.params import ModelParams
from emotion_pipeline.run.disk import STORE_VARIABLE, locked
from emotion_pipeline.run.workers import run_each
from emotion_pipeline.search.grid import Point, Search, choice, with_values
from emotion_pipeline.temporal.train import Job, train_temporal

log = logging.getLogger(__name__)

Trial = Callable[[Search, Point, Path], tuple[float, float]]

NO_LIMIT = 1e9
"""Seconds that a trial may take."""


def run_trial(search: Search, point: Point, out: Path) -> tuple[float, float]:
    """Train with a point's values, leave scores and history in `out`/seed_<seed>, and return what `judged` says.

    It trains in a store of its own, so that no stage takes over what was computed with one thread. The next worker goes
    on from what a killed worker left there; whoever notes the trial removes it.
    """
    section, seeds, own = with_values(search.section, point), [search.seed], _store(out)
    name, where = search.target.partition(".")[2], (out, own / "models", search.params.runtime.device)
    os.environ[STORE_VARIABLE] = str(own)
    if isinstance(section, ModelParams):
        alone = section.model_copy(update={"refit": False})
        train_temporal(Job(name, search.clips(), search.data / section.features, alone, *where), seeds)  # type: ignore[arg-type]
    else:
        alone = section.model_copy(update={"trained_on": "train"})
        fuse(name, search.clips(), search.data / "train_temporal", alone, seeds, *where)
    return judged(search, seed_folder(out, search.seed))


def _store(out: Path) -> Path:
    return out.with_name(f"{out.name}.store").resolve()


def judged(search: Search, folder: Path) -> tuple[float, float]:
    """Return accuracy and mean negative log-likelihood over the labelled clips of val; an absent modality is wrong."""
    truth, scores, present = answers_on_val(search, folder)
    nll = -np.log(np.maximum(np.nan_to_num(scores)[np.arange(len(truth)), truth], 1e-9))
    return accuracy(truth, predicted_labels(scores, present)), float(nll.mean())


def answers_on_val(
    search: Search, folder: Path
) -> tuple[Int[np.ndarray, " n"], Float[np.ndarray, "n k"], Bool[np.ndarray, " n"]]:
    """Return class, scores of the model in a folder, and whether it has the modality, of the labelled clips of val."""
    table, labels = read_scores(folder / "scores.h5"), labels_of(search.clips(), ("val",))
    rows = rows_of(table, list(labels))
    return np.array(list(labels.values())), table.scores[rows], table.present[rows]


def trial_folder(folder: Path, point: int) -> Path:
    """Return where the scores of a point are kept."""
    return folder / "trials" / f"{point:05d}"


def run_search(search: Search, trials: int, workers: int, trial: Trial = run_trial) -> list[FrozenTrial]:
    """Go on until so many trials have ended, those of earlier runs among them; return all that have.

    Raises UserError where the inputs are not there or the grid is wrong, and as `run_each`.
    """
    folder, count = search.folder(), min(trials, len(search.order))
    if trials > count:
        log.info("search: the grid has only %d points, all are tried", count)
    runtime = search.params.runtime.model_copy(update={"workers": workers, "clip_seconds": NO_LIMIT})
    for how in (fcntl.LOCK_EX | fcntl.LOCK_NB, fcntl.LOCK_EX):  # at last those that another command has begun
        todo = sorted({*range(count)} - _ended_points(folder))
        tasks = {str(point): (search, folder, point, how, trial) for point in todo}
        for point, error in run_each("search", _try, tasks, runtime)[1].items() if todo else ():
            _note(search, folder, int(point), reason=str(error))
    return ended_trials(folder)


def open_study(folder: Path) -> optuna.Study:
    """Return the study in a folder, made where there is none."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    with locked(folder / "lock", fcntl.LOCK_EX):  # while the tables are made
        file = f"sqlite:///{folder / 'study.sqlite'}"
        return optuna.create_study(storage=file, study_name="search", direction="maximize", load_if_exists=True)


def ended_trials(folder: Path) -> list[FrozenTrial]:
    """Return the trials that ended well, or failed with a reason, in the order of the grid's points."""
    return sorted(open_study(folder).get_trials(deepcopy=False), key=lambda trial: trial.user_attrs["point"])


def _ended_points(folder: Path) -> set[int]:
    return {trial.user_attrs["point"] for trial in ended_trials(folder)}


def _try(search: Search, folder: Path, point: int, how: int, trial: Trial) -> None:
    """Run the trial of a point, unless it has ended or another command is at it; note how good it is, or why it failed.

    With one thread: the last bits depend on the number of threads, that is on the number of workers.
    """
    torch.set_num_threads(1)
    out = trial_folder(folder, point)
    with suppress(UserError), locked(out.with_suffix(".lock"), how):
        if point in _ended_points(folder):
            return
        try:
            right, nll = trial(search, search.point(point), out)
            outcome: dict[str, Any] = {"right": right, "val_nll": nll}
        except (UserError, torch.OutOfMemoryError) as error:
            outcome = {"reason": str(error).splitlines()[0]}
        shutil.rmtree(_store(out), ignore_errors=True)
        _note(search, folder, point, **outcome)


def _note(search: Search, folder: Path, point: int, right: float | None = None, **attributes: float | str) -> None:
    """Add the trial of a point to the study."""
    choices: dict[str, BaseDistribution] = {
        key: CategoricalDistribution([choice(value) for value in values]) for key, values in search.grid.items()
    }
    ended = create_trial(
        state=TrialState.FAIL if right is None else TrialState.COMPLETE,
        value=right,
        params={key: choice(value) for key, value in search.point(point).items()},
        distributions=choices,
        user_attrs={"point": point, **attributes},
    )
    open_study(folder).add_trial(ended)
