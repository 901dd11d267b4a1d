"""The trials of a search: an Optuna study in an sqlite file, worked on by several processes, now and later.

A worker holds the lock file of the point that it tries. The system frees the lock when the worker ends, however it
ends: no point is tried by two workers, and the point of a killed one is free at once.

Optuna 5.0 has a grid sampler, a queue, a heartbeat and a retry. They do not keep these promises:
- two workers can get the same queued trial from sqlite (7 of 60 trials ran twice with four workers);
- `GridSampler` gives the last points to two workers, and never returns to a point whose trial was interrupted;
- a worker that is killed before its first heartbeat counts as alive for ever, any other for the grace period.
"""

import fcntl
import logging
import signal
import sys
import warnings
from contextlib import suppress
from multiprocessing import get_context
from pathlib import Path

import optuna
import torch
from optuna.distributions import BaseDistribution, CategoricalDistribution
from optuna.samplers import PartialFixedSampler
from optuna.trial import FrozenTrial, TrialState

from emotion_pipeline.data.scores import seed_folder
from emotion_pipeline.errors import UserError
from emotion_pipeline.run.disk import locked
from emotion_pipeline.run.process import INTERRUPTED, ends_with_parent
from emotion_pipeline.search.grid import choice
from emotion_pipeline.search.trial import Search, forget, judged, run_trial, trial_folder

log = logging.getLogger(__name__)

MOST_DEATHS = 3
"""Workers that may die over a point before it is given up."""


def run_search(search: Search, trials: int, workers: int) -> list[FrozenTrial]:
    """Go on until so many trials have ended, those of earlier runs among them; return all that have.

    Raises UserError where the inputs are not there, the grid is wrong, or all workers died.
    """
    folder, count = search.folder(), min(trials, len(search.order))
    if trials > count:
        log.info("search: the grid has only %d points, all are tried", count)
    while len(ended := ended_trials(folder)) < count:
        _run_workers(search, folder, count, workers)
    return ended


def open_study(folder: Path) -> optuna.Study:
    """Return the study in a folder, made where there is none."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    with locked(folder / "lock", fcntl.LOCK_EX):  # while the tables are made
        file = f"sqlite:///{folder / 'study.sqlite'}"
        return optuna.create_study(storage=file, study_name="search", direction="maximize", load_if_exists=True)


def ended_trials(folder: Path) -> list[FrozenTrial]:
    """Return the trials that ended well, or failed with a reason, in the order of the grid's points."""
    ended = open_study(folder).get_trials(deepcopy=False, states=(TrialState.COMPLETE, TrialState.FAIL))
    return sorted(ended, key=lambda trial: trial.user_attrs["point"])


def _run_workers(search: Search, folder: Path, count: int, workers: int) -> None:
    """Run worker processes to their end. Raises UserError where all of them died."""
    context = get_context("spawn")
    processes = [context.Process(target=_work, args=(search, folder, count)) for _ in range(workers)]
    try:
        for process in processes:
            process.start()
        for process in processes:
            process.join()
    finally:
        for process in processes:
            if process.is_alive():
                process.terminate()
                process.join()
    if all(process.exitcode for process in processes):
        raise UserError(f"search: all workers died (exit status {processes[0].exitcode}); the same command goes on")


def _work(search: Search, folder: Path, count: int) -> None:
    """Try each of the first points that nobody has; then wait for the others, and try those over which one died.

    A worker computes with one thread: the last bits depend on the number of threads, that is on the number of workers.
    """
    ends_with_parent()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches everyone: the parent answers it, by SIGTERM
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(INTERRUPTED))
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    torch.set_num_threads(1)
    study = open_study(folder)
    for how in (fcntl.LOCK_EX | fcntl.LOCK_NB, fcntl.LOCK_EX):
        for point in sorted({*range(count)} - {trial.user_attrs["point"] for trial in ended_trials(folder)}):
            with suppress(UserError), locked(trial_folder(folder, point).with_suffix(".lock"), how):
                _try(search, study, point, trial_folder(folder, point))


def _try(search: Search, study: optuna.Study, point: int, out: Path) -> None:
    """Run the trial of a point, unless it has ended; note how good it is, or why it failed.

    A trial of the point that is still running, in the study, was a worker's that died.
    """
    earlier = [t.state for t in study.get_trials(deepcopy=False) if t.user_attrs.get("point") == point]
    if {TrialState.COMPLETE, TrialState.FAIL} & {*earlier}:
        return
    trial = _begin(search, study, point)
    try:
        if earlier.count(TrialState.RUNNING) >= MOST_DEATHS:
            raise UserError(f"{MOST_DEATHS} workers died over it (out of memory?)")
        run_trial(search, search.point(point), out)
        right, nll = judged(search, seed_folder(out, search.seed))
        trial.set_user_attr("val_nll", nll)
        study.tell(trial, right)
        log.info("search: point %d: accuracy on val %.3f", point, right)
    except (UserError, torch.OutOfMemoryError) as error:
        forget(out)
        trial.set_user_attr("reason", str(error).splitlines()[0])
        study.tell(trial, state=TrialState.FAIL)
    except SystemExit:
        study.tell(trial, state=TrialState.PRUNED, skip_if_finished=True)
        raise


def _begin(search: Search, study: optuna.Study, point: int) -> optuna.Trial:
    """Return a trial that is running in the study, with the values of a point."""
    warnings.filterwarnings("ignore", category=optuna.exceptions.ExperimentalWarning)
    values = {key: choice(value) for key, value in search.point(point).items()}
    study.sampler = PartialFixedSampler(values, optuna.samplers.RandomSampler())
    choices: dict[str, BaseDistribution] = {
        key: CategoricalDistribution([choice(value) for value in values]) for key, values in search.grid.items()
    }
    trial = study.ask(choices)
    trial.set_user_attr("point", point)
    return trial
