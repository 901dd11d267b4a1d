"""One trial of a search: what is varied on which data, the training, and the judgement by val."""

import os
import shutil
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float, Int
from optuna.trial import FrozenTrial, Trial

from emotion_pipeline.data.manifest import Clip, labels_of, read_manifest, seen_in_training
from emotion_pipeline.data.scores import read_scores, rows_of, seed_folder
from emotion_pipeline.errors import UserError
from emotion_pipeline.fusion.seeds import fuse_seeds
from emotion_pipeline.metrics import accuracy, predicted_labels
from emotion_pipeline.params import ModelParams, Params, Section
from emotion_pipeline.run.disk import STORE_VARIABLE, store_folder
from emotion_pipeline.run.fingerprint import code_fingerprint, digest, file_sha256
from emotion_pipeline.search.grid import Grid, Point, Points, grid_of, with_values
from emotion_pipeline.temporal.seeds import train_seeds


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

    @cached_property
    def points(self) -> Points:
        """Of the grid, in the order in which they are tried."""
        return Points(self.grid, self.params.search.seed)

    def values(self, trial: FrozenTrial | Trial) -> Point:
        """What a trial tries, by dotted key."""
        return self.points[trial.user_attrs["point"]]

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
            names = self.grid.get("features", [self.section.features])
            return [file for name in names for file in self._files(self.data / str(name))]
        sets = [self.section.models, *self.grid.get("models", [])]  # type: ignore[attr-defined]
        models = sorted({model for models in sets for model in models})
        return [seed_folder(self.data / "train_temporal" / model, self.seed) / "scores.h5" for model in models]

    @staticmethod
    def _files(folder: Path) -> list[Path]:
        return sorted(folder.glob("*")) or [folder]

    def folder(self) -> Path:
        """Where the study and its trials are kept: another one for other data, fixed parameters, grid or code."""
        inputs = self.inputs()
        missing = [path for path in inputs if not path.is_file()]
        if missing:
            raise UserError(f"{missing[0]}: not there, but {self.target} is made from it; run `dvc repro` first")
        fixed = self.section.model_dump(mode="json")
        key = digest(
            seen_in_training(self.clips())
            | {
                "target": self.target,
                "grid": {key: list(values) for key, values in self.grid.items()},
                "fixed": with_values(self.section, {k: v[0] for k, v in self.grid.items()}).model_dump(mode="json"),
                "order": list(fixed),
                "inputs": [(path.parent.name, path.name, file_sha256(path)) for path in inputs],
                "seeds": [self.params.search.seed, self.seed],
                "code": code_fingerprint(train_seeds.__module__) + code_fingerprint(fuse_seeds.__module__),
            }
        )
        return store_folder() / "search" / f"{self.target}-{key[:16]}"


def run_trial(search: Search, values: Point, out: Path) -> None:
    """Train with some values, in a worker's own process: `out`/seed_<seed>/ gets the scores and the history.

    It trains in a store of its own, so that no stage takes over what was computed with one thread. What a killed worker
    had so far is in there and is gone on with; in the end it is removed, with the network, which may be of gigabytes.
    """
    section, device, seeds = with_values(search.section, values), search.params.runtime.device, [search.seed]
    os.environ[STORE_VARIABLE] = str(_store(out))
    try:
        if isinstance(section, ModelParams):
            features = search.data / section.features
            train_seeds(search.name, search.clips(), features, section, seeds, out, device)  # type: ignore[arg-type]
        else:
            fuse_seeds(search.name, search.clips(), search.data / "train_temporal", section, seeds, out, device)
    except Exception:
        forget(out)
        raise
    forget(out)
    (seed_folder(out, search.seed) / "model.safetensors").unlink(missing_ok=True)


def forget(out: Path) -> None:
    """Remove what an unfinished trial had so far."""
    shutil.rmtree(_store(out), ignore_errors=True)


def _store(out: Path) -> Path:
    return out.with_name(f"{out.name}.store").resolve()


def judged(search: Search, folder: Path) -> tuple[float, float]:
    """Accuracy over the labelled clips of val, an absent modality counting as wrong, and mean negative log score."""
    truth, scores, present = answers_on_val(search, folder)
    nll = -np.log(np.maximum(np.nan_to_num(scores)[np.arange(len(truth)), truth], 1e-9))
    return accuracy(truth, predicted_labels(scores, present)), float(nll.mean())


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
