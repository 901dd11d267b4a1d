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
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import optuna
import torch
from optuna.distributions import BaseDistribution, CategoricalDistribution
from optuna.trial import FrozenTrial, TrialState, create_trial

from emotion_pipeline.errors import UserError
from emotion_pipeline.run.disk import locked
from emotion_pipeline.run.workers import run_each
from emotion_pipeline.search.grid import Point, Search, choice
from emotion_pipeline.search.trial import forget, run_trial, trial_folder

log = logging.getLogger(__name__)

Trial = Callable[[Search, Point, Path], tuple[float, float]]

NO_LIMIT = 1e9
"""Seconds that a trial may take."""


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
        except (UserError, torch.OutOfMemoryError) as error:
            forget(out)
            _note(search, folder, point, reason=str(error).splitlines()[0])
        else:
            _note(search, folder, point, right, val_nll=nll)


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
