"""The trials of a search: an Optuna study in an sqlite file that several workers, now and later, go on with."""

import fcntl
import logging
import os
import signal
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from multiprocessing import get_context
from pathlib import Path

import optuna
import torch
from optuna.distributions import BaseDistribution, CategoricalDistribution
from optuna.trial import FrozenTrial, Trial, TrialState, create_trial

from emotion_pipeline.data.scores import seed_folder
from emotion_pipeline.errors import UserError
from emotion_pipeline.params import Scalar
from emotion_pipeline.run.process import ends_with_parent
from emotion_pipeline.search.grid import choice
from emotion_pipeline.search.trial import Search, forget, judged, run_trial, trial_folder

log = logging.getLogger(__name__)

MOST_DEATHS = 3
"""Workers that may die over a point before it is given up."""


def run_search(search: Search, trials: int, workers: int) -> list[FrozenTrial]:
    """Go on until so many trials are finished, those of earlier runs among them; returns the finished ones, sorted.

    Raises UserError where the inputs are not there or the grid is wrong.
    """
    folder, order = search.folder(), search.points
    folder.mkdir(parents=True, exist_ok=True)
    open_study(folder)
    if trials > len(order):
        log.info("search: the grid has only %d points, all are tried", len(order))
    context = get_context("spawn")
    processes = [context.Process(target=_work, args=(search, folder, trials)) for _ in range(workers)]
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
    died = [process.exitcode for process in processes if process.exitcode]
    finished = finished_trials(open_study(folder))
    if died and len(finished) < min(trials, len(order)):
        raise UserError(f"search: {len(died)} of {workers} workers ended with {died[0]}; the same command goes on")
    return finished


def open_study(folder: Path) -> optuna.Study:
    """The study in a folder, made where there is none."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    with _locked(folder):
        return optuna.create_study(
            storage=f"sqlite:///{folder / 'study.sqlite'}",
            study_name="search",
            sampler=optuna.samplers.RandomSampler(),
            direction="maximize",
            load_if_exists=True,
        )


def finished_trials(study: optuna.Study) -> list[FrozenTrial]:
    """Trials that ended, well or with a reason, in the order of the grid's points; none whose worker died."""
    ended = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE, TrialState.FAIL))
    return sorted((t for t in ended if not _lost(t)), key=lambda t: t.user_attrs["point"])


def _lost(trial: FrozenTrial) -> bool:
    """Whether its worker died: a trial that failed by itself has a reason."""
    return trial.state == TrialState.FAIL and "reason" not in trial.user_attrs


def _work(search: Search, folder: Path, trials: int) -> None:
    """A worker: takes the next point until enough are taken.

    It computes with one thread: the numbers would depend on how many there are, that is on how many workers.
    """
    ends_with_parent()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches everyone: the parent answers it, by SIGTERM
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    torch.set_num_threads(1)
    study, trial = open_study(folder), None
    try:
        while (trial := _claim(study, folder, search, trials)) is not None:
            _try(search, study, trial, trial_folder(folder, trial.user_attrs["point"]))
    except KeyboardInterrupt:
        if trial is not None:
            with suppress(optuna.exceptions.UpdateFinishedTrialError):
                trial.set_user_attr("interrupted", True)
        sys.exit(130)


def _try(search: Search, study: optuna.Study, trial: Trial, out: Path) -> None:
    """Run a trial; note how good it is, or why it failed."""
    try:
        run_trial(search, search.values(trial), out)
        right, loss = judged(search, seed_folder(out, search.seed))
    except (UserError, torch.OutOfMemoryError) as error:
        trial.set_user_attr("reason", str(error).splitlines()[0])
        study.tell(trial, state=TrialState.FAIL)
        return
    trial.set_user_attr("val_loss", loss)
    study.tell(trial, right)
    log.info("search: point %d: accuracy on val %.3f", trial.user_attrs["point"], right)


def _claim(study: optuna.Study, folder: Path, search: Search, trials: int) -> Trial | None:
    """The next point that nobody has or had, as a running trial; None where enough are taken.

    One worker at a time is in here: of two that ask sqlite alone, both could get the same. A point whose worker is gone
    (killed, or the machine was) is taken again; one over which `MOST_DEATHS` workers died is given up.
    """
    choices: dict[str, BaseDistribution] = {
        key: CategoricalDistribution([choice(value) for value in values]) for key, values in search.grid.items()
    }
    with _locked(folder):
        for running in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
            if not _alive(running.user_attrs.get("worker", "")):
                study.tell(running.number, state=TrialState.FAIL)
        everyone = study.get_trials(deepcopy=False)
        taken = {t.user_attrs["point"] for t in everyone if not _lost(t)}
        deaths = Counter(t.user_attrs["point"] for t in everyone if _lost(t) and "interrupted" not in t.user_attrs)
        for point in {p for p, n in deaths.items() if n >= MOST_DEATHS} - taken:
            attributes = {"point": point, "reason": f"{deaths[point]} workers died over it (out of memory?)"}
            state, params = TrialState.FAIL, _params(search, point)
            study.add_trial(create_trial(state=state, params=params, distributions=choices, user_attrs=attributes))
            forget(trial_folder(folder, point))
            taken.add(point)
        free = next((i for i in range(min(trials, len(search.points))) if i not in taken), None)
        if free is None:
            return None
        study.enqueue_trial(_params(search, free), user_attrs={"point": free, "worker": _identity(os.getpid())})
        return study.ask(choices)


def _params(search: Search, point: int) -> dict[str, Scalar]:
    return {key: choice(value) for key, value in search.points[point].items()}


def _identity(pid: int) -> str:
    """A process of this machine: its number and when it started, so that a later one of the same number is another."""
    try:
        state, *rest = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    except OSError:
        return f"{pid} gone"
    return f"{pid} gone" if state in "ZX" else f"{pid} {rest[18]}"


def _alive(worker: str) -> bool:
    pid = worker.partition(" ")[0]
    return pid.isdigit() and _identity(int(pid)) == worker


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    with open(folder / "lock", "w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
