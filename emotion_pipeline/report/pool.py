"""The command `pool`: several runs as one table, as in leave-one-subject-out, where each has another test subject."""

from collections.abc import Mapping, Sequence
from io import StringIO
from pathlib import Path, PurePosixPath

import numpy as np
import pandas as pd

from emotion_pipeline.data.tables import write_table
from emotion_pipeline.emotions import EMOTIONS
from emotion_pipeline.errors import UserError
from emotion_pipeline.metrics import NO_PREDICTION
from emotion_pipeline.params import EvaluateParams
from emotion_pipeline.report.paper import title_of
from emotion_pipeline.report.sources import Row
from emotion_pipeline.report.tables import ABSENT, over_seeds

Answers = Mapping[str, pd.DataFrame]
"""By model, the texts of its `reports/confusion/<model>.csv`."""

CLASSES = {name: label for label, name in enumerate(EMOTIONS)} | {ABSENT: NO_PREDICTION}
COLUMNS = ("model", "title", "accuracy", "sd", "low", "high", "uar", "n", "runs")


def pool(revisions: Sequence[str], params: EvaluateParams, target: Path) -> list[Row]:
    """Write `target` (csv): every model over the test clips of all revisions together; return its rows.

    `revisions`: names of DVC experiments, commits or branches. Raises UserError where one has no report, a model is not
    in all of them, or a clip is in two.
    """
    rows = pooled({revision: read_answers(revision) for revision in revisions}, params)
    write_table(target, rows, COLUMNS)
    return rows


def read_answers(revision: str) -> Answers:
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
    return {model: pd.read_csv(StringIO(text), dtype=str, keep_default_na=False) for model, text in texts.items()}


def pooled(folds: Mapping[str, Answers], params: EvaluateParams) -> list[Row]:
    """Return a row per model: accuracy over the clips of all folds, mean over the seeds, and its 95 % interval."""
    models = {name: set(fold) for name, fold in folds.items()}
    for name, own in models.items():
        if missing := set.union(*models.values()) - own:
            raise UserError(f"{name}: has no answers of {min(missing)}; pool runs of the same models")
    first, *_ = folds.values()
    return [_row(model, pd.concat([fold[model] for fold in folds.values()]), params) for model in first]


def _row(model: str, answers: pd.DataFrame, params: EvaluateParams) -> Row:
    runs = [own for _, own in answers.groupby("run")]
    if runs[0]["clip_id"].duplicated().any():
        raise UserError(f"{model}: a clip is in the test split of two runs; pool runs with different test subjects")
    truth = runs[0]["actual"].map(CLASSES).to_numpy()
    predicted = np.stack([own["predicted"].map(CLASSES) for own in runs])
    numbers = over_seeds(truth, predicted, params)
    return {"model": model, "title": title_of(model), **numbers, "n": len(truth), "runs": len(runs)}
