"""One trial of a search: the training, and how good it is on val."""

import os
import shutil
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float, Int

from emotion_pipeline.data.manifest import labels_of
from emotion_pipeline.data.scores import read_scores, rows_of, seed_folder
from emotion_pipeline.fusion.train import fuse
from emotion_pipeline.metrics import accuracy, predicted_labels
from emotion_pipeline.params import ModelParams
from emotion_pipeline.run.disk import STORE_VARIABLE
from emotion_pipeline.search.grid import Point, Search, with_values
from emotion_pipeline.temporal.train import train_temporal


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
        train_temporal(name, search.clips(), search.data / section.features, alone, seeds, *where)  # type: ignore[arg-type]
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
