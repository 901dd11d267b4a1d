"""One trial of a search: what is varied on which data, the training, and how good it is on val."""

import os
import shutil
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float, Int
from optuna.trial import FrozenTrial
from sklearn.model_selection import ParameterGrid

from emotion_pipeline.data.manifest import Clip, labels_of, read_manifest, seen_in_training
from emotion_pipeline.data.scores import read_scores, rows_of, seed_folder
from emotion_pipeline.errors import UserError
from emotion_pipeline.fusion.train import fuse
from emotion_pipeline.metrics import accuracy, predicted_labels
from emotion_pipeline.params import ModelParams, Params, Section
from emotion_pipeline.params.search import Grid, SearchParams
from emotion_pipeline.run.disk import STORE_VARIABLE, store_folder
from emotion_pipeline.run.fingerprint import code_fingerprint, digest, file_sha256
from emotion_pipeline.search.grid import Point, grid_of, order_of, section_of, with_values
from emotion_pipeline.temporal.train import Job, train_temporal


@dataclass(frozen=True)
class Search:
    """A model or fusion, the values to try, and the folder with the stages' outputs that it is trained on.

    Every trial trains with the first of `training.seeds` and is judged by its accuracy on val. A fusion that is itself
    fitted on val (weighted mean, linear SVM) is judged by clips that it has seen.
    """

    target: str  # train_temporal.<model> or fusion.<name>
    params: Params
    ranges: SearchParams
    data: Path

    @cached_property
    def section(self) -> Section:
        """The parameters that are varied."""
        return section_of(self.params, self.target)

    @cached_property
    def grid(self) -> Grid:
        """Values by dotted key."""
        return grid_of(self.ranges, self.target, self.section)

    @cached_property
    def order(self) -> Int[np.ndarray, " n"]:
        """Numbers of the grid's points in the order in which they are tried."""
        return order_of(self.grid, self.ranges.seed)

    def point(self, place: int) -> Point:
        """Return the values of a point by its place in the order."""
        return dict(sorted(ParameterGrid(self.grid)[int(self.order[place])].items()))

    def values(self, trial: FrozenTrial) -> Point:
        """Return what a trial tries, by dotted key."""
        return self.point(trial.user_attrs["point"])

    @property
    def seed(self) -> int:
        """The seed of all trainings."""
        return self.params.training.seeds[0]

    def clips(self) -> list[Clip]:
        """Return the clips of the manifest."""
        return read_manifest(self.data / "ingest" / "clips.csv")

    def inputs(self) -> list[Path]:
        """Return the files whose bytes decide the results."""
        if isinstance(self.section, ModelParams):
            folders = [self.data / str(name) for name in self.grid.get("features", [self.section.features])]
            return [file for folder in folders for file in sorted(folder.glob("*")) or [folder]]
        sets = [self.section.models, *self.grid.get("models", [])]  # type: ignore[attr-defined]
        models = sorted({model for models in sets for model in models})
        return [seed_folder(self.data / "train_temporal" / model, self.seed) / "scores.h5" for model in models]

    def folder(self) -> Path:
        """Return the folder of the study and its trials: another one for other data, fixed parameters, grid or code."""
        inputs = self.inputs()
        if missing := [path for path in inputs if not path.is_file()]:
            raise UserError(f"{missing[0]}: not there, but {self.target} is made from it; run `dvc repro` first")
        first = {key: values[0] for key, values in self.grid.items()}
        made_from = {
            "target": self.target,
            "grid": {key: list(values) for key, values in self.grid.items()},
            "fixed": with_values(self.section, first).model_dump(mode="json"),
            "inputs": [(path.parent.name, path.name, file_sha256(path)) for path in inputs],
            "seeds": [self.ranges.seed, self.seed],
            "code": code_fingerprint(train_temporal.__module__) + code_fingerprint(fuse.__module__),
        }
        key = digest({"learnt_from": seen_in_training(self.clips())} | made_from)
        return store_folder() / "search" / f"{self.target}-{key[:16]}"


def run_trial(search: Search, point: Point, out: Path) -> tuple[float, float]:
    """Train with a point's values, leave scores and history in `out`/seed_<seed>, and return what `judged` says.

    It trains in a store of its own, so that no stage takes over what was computed with one thread. The next worker goes
    on from what a killed worker left there. The store and the network are removed in the end.
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
    forget(out)
    return judged(search, seed_folder(out, search.seed))


def forget(out: Path) -> None:
    """Remove what an unfinished trial had so far."""
    shutil.rmtree(_store(out), ignore_errors=True)


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
