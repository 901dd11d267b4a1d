"""The command `pool`: several runs as one table, as in leave-one-subject-out, where each has another test subject."""

import csv
from collections.abc import Iterable, Mapping, Sequence
from io import StringIO
from pathlib import Path, PurePosixPath

import numpy as np

from emotion_pipeline.data.tables import write_table
from emotion_pipeline.emotions import EMOTIONS
from emotion_pipeline.errors import UserError
from emotion_pipeline.metrics import NO_PREDICTION
from emotion_pipeline.params import EvaluateParams
from emotion_pipeline.report.paper import title_of
from emotion_pipeline.report.sources import Row
from emotion_pipeline.report.tables import over_seeds

Answers = Mapping[str, Sequence[Mapping[str, str]]]
"""By model, the rows of its `reports/confusion/<model>.csv`."""

CLASSES = {name: label for label, name in enumerate(EMOTIONS)}
COLUMNS = ("model", "title", "accuracy", "sd", "low", "high", "uar", "n", "runs")


def pool(revisions: Sequence[str], params: EvaluateParams, target: Path) -> list[Row]:
    """Write `target` (csv): every model over the test clips of all revisions together; return its rows.

    `revisions`: names of DVC experiments, commits or branches. Raises UserError where one has no report, a model is not
    in all of them, or a clip is in two.
    """
    rows = pooled({revision: read_answers(revision) for revision in revisions}, params)
    write_table(target, rows, COLUMNS)
    return rows


def read_answers(revision: str) -> dict[str, list[dict[str, str]]]:
    """Return the answers of every model in a revision of this repository; DVC gets what is not here from its cache."""
    from dvc.api import DVCFileSystem
    from dvc.exceptions import DvcException
    from dvc_data.index import DataIndexDirError

    try:
        files = DVCFileSystem(".", rev=revision)
        paths = sorted(files.glob("reports/confusion/*.csv"))
        texts = {PurePosixPath(path).stem: files.read_text(path, encoding="utf-8") for path in paths}
    except (DvcException, DataIndexDirError, OSError) as error:
        raise UserError(
            f"{revision}: DVC cannot read its report ({error}); see `dvc exp show`, or `dvc pull` its reports"
        ) from error
    if not texts:
        raise UserError(f"{revision}: no reports/confusion in this revision; run it with `dvc exp run`")
    return {model: list(csv.DictReader(StringIO(text))) for model, text in texts.items()}


def pooled(folds: Mapping[str, Answers], params: EvaluateParams) -> list[Row]:
    """Return a row per model: accuracy over the clips of all folds, mean over the seeds, and its 95 % interval."""
    models = {name: set(fold) for name, fold in folds.items()}
    for name, own in models.items():
        if missing := set.union(*models.values()) - own:
            raise UserError(f"{name}: has no answers of {min(missing)}; pool runs of the same models")
    return [_row(model, [fold[model] for fold in folds.values()], params) for model in next(iter(folds.values()))]


def _row(model: str, folds: Iterable[Sequence[Mapping[str, str]]], params: EvaluateParams) -> Row:
    rows = [row for fold in folds for row in fold]
    runs = sorted({row["run"] for row in rows})
    by_run = [[row for row in rows if row["run"] == run] for run in runs]
    ids = [row["clip_id"] for row in by_run[0]]
    if len(set(ids)) < len(ids):
        raise UserError(f"{model}: a clip is in the test split of two runs; pool runs with different test subjects")
    truth = np.array([CLASSES[row["actual"]] for row in by_run[0]])
    predicted = np.array([[CLASSES.get(row["predicted"], NO_PREDICTION) for row in own] for own in by_run])
    numbers = over_seeds(truth, predicted, params)
    return {"model": model, "title": title_of(model), **numbers, "n": len(truth), "runs": len(runs)}
