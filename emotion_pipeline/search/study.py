"""The trials of a search: an Optuna study in an sqlite file that several workers, now and later, go on with."""

import fcntl
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import optuna
import torch
from jaxtyping import Bool, Float, Int
from optuna.distributions import CategoricalDistribution
from optuna.trial import FrozenTrial, Trial, TrialState

from emotion_pipeline.clips import Clip, UserError, labels_of, read_manifest
from emotion_pipeline.fingerprint import code_fingerprint, digest, file_sha256
from emotion_pipeline.fusion.seeds import fuse_seeds
from emotion_pipeline.metrics import accuracy, predicted_labels
from emotion_pipeline.params import ModelParams, Params, Section
from emotion_pipeline.reuse import store_folder
from emotion_pipeline.scorefile import read_scores, rows_of, seed_folder
from emotion_pipeline.search.grid import Grid, Points, grid_of, with_values
from emotion_pipeline.stage import ends_with_parent
from emotion_pipeline.temporal.seeds import train_seeds

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Search:
    """One model or fusion, the values to try, and the data in a folder of stages' outputs.

    Every trial trains with the first of `training.seeds` and is judged by its accuracy on val. A fusion that is itself
    fitted on val (weighted mean, linear SVM) is judged on what it has seen.
    """

    target: str
    params: Params
    data: Path

    @cached_property
    def _checked(self) -> tuple[Section, Grid]:
        return grid_of(self.params, self.target)

    @property
    def section(self) -> Section:
        """The parameters that are varied."""
        return self._checked[0]

    @property
    def grid(self) -> Grid:
        """Values by dotted key."""
        return self._checked[1]

    @property
    def name(self) -> str:
        """Of the model or fusion."""
        return self.target.partition(".")[2]

    @property
    def seed(self) -> int:
        """With which all trials train."""
        return self.params.training.seeds[0]

    def clips(self) -> list[Clip]:
        """Of the manifest."""
        return read_manifest(self.data / "ingest" / "clips.csv")

    def inputs(self) -> list[Path]:
        """Files whose bytes decide the results."""
        if isinstance(self.section, ModelParams):
            return sorted((self.data / self.section.features).glob("*"))
        folders = [seed_folder(self.data / "train_temporal" / model, self.seed) for model in self.section.models]  # type: ignore[attr-defined]
        return [folder / "scores.h5" for folder in folders]

    def folder(self) -> Path:
        """Where the study and its trials are kept: another one for other data, fixed parameters, grid or code."""
        inputs = self.inputs()
        if not inputs or not all(path.is_file() for path in inputs):
            raise UserError(f"{self.data}: the inputs of {self.target} are not there; run `dvc repro` first")
        fixed = self.section.model_dump(mode="json")
        labels = [sorted(labels_of(self.clips(), (split,)).items()) for split in ("train", "val")]
        key = digest(
            {
                "target": self.target,
                "grid": {key: list(values) for key, values in self.grid.items()},
                "fixed": with_values(self.section, {k: v[0] for k, v in self.grid.items()}).model_dump(mode="json"),
                "order": list(fixed),
                "inputs": [(path.parent.name, path.name, file_sha256(path)) for path in inputs],
                "labels": labels,
                "seeds": [self.params.search.seed, self.seed],
                "code": code_fingerprint(train_seeds.__module__) + code_fingerprint(fuse_seeds.__module__),
            }
        )
        return store_folder() / "search" / f"{self.target}-{key[:16]}"


def run_search(search: Search, trials: int, workers: int) -> list[FrozenTrial]:
    """Go on until so many trials are finished, those of earlier runs among them; returns the finished ones, sorted.

    Raises UserError where the inputs are not there or the grid is wrong.
    """
    folder, order = search.folder(), Points(search.grid, search.params.search.seed)
    folder.mkdir(parents=True, exist_ok=True)
    open_study(folder)
    if trials > len(order):
        log.info("search: the grid has only %d points, all are tried", len(order))
    context = get_context("spawn")
    threads = max(1, len(os.sched_getaffinity(0)) // workers)
    processes = [context.Process(target=_work, args=(search, folder, trials, threads)) for _ in range(workers)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    died = [process.exitcode for process in processes if process.exitcode]
    finished = finished_trials(open_study(folder))
    if died:
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


def _work(search: Search, folder: Path, trials: int, threads: int) -> None:
    """A worker: takes the next point until enough are taken."""
    ends_with_parent()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    torch.set_num_threads(threads)
    study, order = open_study(folder), Points(search.grid, search.params.search.seed)
    while (trial := _claim(study, folder, order, search.grid, trials)) is not None:
        out = trial_folder(folder, trial.user_attrs["point"])
        try:
            _run(search, trial.params, out)
            right, loss = judged(search, seed_folder(out, search.seed))
        except UserError as error:
            trial.set_user_attr("reason", str(error))
            study.tell(trial, state=TrialState.FAIL)
            continue
        trial.set_user_attr("val_loss", loss)
        study.tell(trial, right)
        log.info("search: point %d: accuracy on val %.3f", trial.user_attrs["point"], right)


def _claim(study: optuna.Study, folder: Path, order: Points, grid: Grid, trials: int) -> Trial | None:
    """The next point that nobody has or had, as a running trial; None where enough are taken.

    One worker at a time is in here. A point whose worker is gone (killed, or the machine was) is taken again.
    """
    with _locked(folder):
        for running in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
            if not _alive(running.user_attrs.get("worker", "")):
                study.tell(running.number, state=TrialState.FAIL)
        taken = {t.user_attrs["point"] for t in study.get_trials(deepcopy=False) if not _lost(t)}
        free = next((i for i in range(min(trials, len(order))) if i not in taken), None)
        if free is None:
            return None
        study.enqueue_trial(order[free], user_attrs={"point": free, "worker": _identity(os.getpid())})
        return study.ask({key: CategoricalDistribution(tuple(values)) for key, values in grid.items()})


def _run(search: Search, values: dict[str, object], out: Path) -> None:
    section = with_values(search.section, values)  # type: ignore[arg-type]
    device, seeds = search.params.runtime.device, [search.seed]
    if isinstance(section, ModelParams):
        features = search.data / section.features
        train_seeds(search.name, search.clips(), features, section, seeds, out, device)  # type: ignore[arg-type]
    else:
        fuse_seeds(search.name, search.clips(), search.data / "train_temporal", section, seeds, out, device)


def judged(search: Search, folder: Path) -> tuple[float, float]:
    """Accuracy over the labelled clips of val, an absent modality counting as wrong, and mean negative log score."""
    truth, scores, present = answers_on_val(search, folder)
    surprise = -np.log(np.maximum(np.nan_to_num(scores)[np.arange(len(truth)), truth], 1e-9))
    return accuracy(truth, predicted_labels(scores, present)), float(surprise.mean())


def answers_on_val(
    search: Search, folder: Path
) -> tuple[Int[np.ndarray, " n"], Float[np.ndarray, "n k"], Bool[np.ndarray, " n"]]:
    """Of the labelled clips of val: class, scores that a model's folder has, and whether it has the modality."""
    table, labels = read_scores(folder / "scores.h5"), labels_of(search.clips(), ("val",))
    rows = rows_of(table, list(labels))
    return np.array(list(labels.values())), table.scores[rows], table.present[rows]


def trial_folder(folder: Path, point: int) -> Path:
    """Where the scores of a trial are kept."""
    return folder / "trials" / f"{point:05d}"


def _identity(pid: int) -> str:
    """A process of this machine: its number and when it started, so that a later one of the same number is another."""
    try:
        return f"{pid} {Path(f'/proc/{pid}/stat').read_text().rsplit(')', 1)[1].split()[19]}"
    except OSError:
        return f"{pid} gone"


def _alive(worker: str) -> bool:
    pid = worker.partition(" ")[0]
    return pid.isdigit() and _identity(int(pid)) == worker


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    with open(folder / "lock", "w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
