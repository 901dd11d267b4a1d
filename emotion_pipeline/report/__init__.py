"""What the models are worth: metrics.json, the csv files behind every plot, and report.html."""

import csv
import json
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path

from emotion_pipeline.data.manifest import class_table
from emotion_pipeline.emotions import EMOTIONS
from emotion_pipeline.params import Params
from emotion_pipeline.report import paper, tables
from emotion_pipeline.report.page import page
from emotion_pipeline.report.sources import Answers, Row, Sources, read_sources
from emotion_pipeline.run.keys import input_sha256

log = logging.getLogger(__name__)

READ = ("ingest/*.csv", "*/failures.csv", "finetune_*/*.csv", "gallery/*", "**/history.csv", "**/scores.h5")
"""What the report is made of."""


def evaluate(data: Path, reports: Path, params: Params) -> None:
    """Write `reports` from the folders of all other stages, `data/<stage>/`.

    `metrics.json`; `classes.csv`, `accuracy.csv`, `failures.csv`, `predictions.csv`, `training/<model>.csv`,
    `confusion/<model>.csv` (test split, or val where test has no labels), `scores/<ensemble>.csv` (all clips of test);
    the paper's tables, `tables/table_<n>.csv`, and `leave_one_out/` with those over all subjects left out once;
    `report.html`. Raises UserError for a damaged file.
    """
    for path in (path for pattern in READ for path in sorted(data.glob(pattern))):
        input_sha256(path)
    sources = read_sources(data, params)
    accuracies = tables.accuracies(sources, params.evaluate)
    write_tables(sources, accuracies, reports)
    left_out = _write_left_out(sources, reports / "leave_one_out", params)
    (reports / "report.html").write_text(page(sources, accuracies, left_out, params.evaluate), encoding="utf-8")
    for kind in ("temporal", "fusion", "ensemble"):
        for top in tables.best(accuracies, sources.reported, (kind,))[:1]:
            log.info("best %s on %s: %s, accuracy %.3f", kind, sources.reported, top["model"], top["accuracy"])
    log.info("evaluate: %d models, %d clips: %s/report.html", len(sources.models), len(sources.clips), reports)


def write_tables(sources: Sources, accuracies: Sequence[Row], reports: Path) -> None:
    """metrics.json and the csv files."""
    metrics = json.dumps(tables.metrics_tree(accuracies), indent=2, sort_keys=True, allow_nan=False)
    reports.mkdir(parents=True, exist_ok=True)
    (reports / "metrics.json").write_text(metrics + "\n", encoding="utf-8")
    _write_csv(reports / "classes.csv", class_table(sources.clips))
    _write_csv(reports / "accuracy.csv", accuracies)
    _write_csv(reports / "failures.csv", sources.failures, ("stage", "clip_id", "reason", "detail"))
    _write_csv(reports / "predictions.csv", tables.predictions(sources))
    _write_csv(reports / "tables" / "table_1.csv", tables.class_counts(sources))
    _write_paper_tables(sources, accuracies, reports / "tables")
    for history in sources.histories:
        if history.x == "epoch":
            rows = [dict(zip(history.columns, row, strict=True)) for row in zip(*history.columns.values(), strict=True)]
            _write_csv(reports / "training" / f"{history.name}.csv", rows)
    for model in sources.models:
        _write_csv(reports / "confusion" / f"{model.name}.csv", tables.answers(sources, model))
        if model.kind == "ensemble":
            header = ("clip_id", "predicted", *EMOTIONS)
            _write_csv(reports / "scores" / f"{model.name}.csv", tables.ensemble_scores(sources, model), header)


def _write_paper_tables(answers: Answers, accuracies: Sequence[Row], folder: Path) -> None:
    for number in paper.ROWS:
        _write_csv(folder / f"table_{number}.csv", tables.paper_table(number, accuracies), tables.COLUMNS)
    _write_csv(folder / "fusions_compared.csv", [tables.compared_fusions(answers, accuracies)])


def _write_left_out(sources: Sources, folder: Path, params: Params) -> list[Row]:
    """The tables over the clips of all subjects that were left out once; their accuracies (none: no subject was)."""
    accuracies = tables.accuracies(sources.left_out, params.evaluate) if sources.left_out else []
    header = list(accuracies[0]) if accuracies else ["kind", "model", "split", "accuracy"]
    _write_csv(folder / "accuracy.csv", accuracies, header)
    if sources.left_out:
        _write_paper_tables(sources.left_out, accuracies, folder)
    return accuracies


def _write_csv(path: Path, rows: Sequence[Mapping[str, object]], header: Sequence[str] = ()) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, header or list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
