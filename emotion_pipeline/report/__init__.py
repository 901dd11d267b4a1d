"""What the models are worth: metrics.json, the csv files behind every plot, and report.html."""

import csv
import json
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path

from emotion_pipeline.clips import class_table
from emotion_pipeline.params import EvaluateParams
from emotion_pipeline.report import faces, tables
from emotion_pipeline.report.page import page
from emotion_pipeline.report.sources import Row, Sources, read_sources

log = logging.getLogger(__name__)


def evaluate(data: Path, reports: Path, params: EvaluateParams) -> None:
    """Write `reports` from the folders of all other stages, `data/<stage>/`.

    `metrics.json`; `classes.csv`, `accuracy.csv`, `failures.csv`, `predictions.csv`, `confusion/<model>.csv` (test
    split, or val where test has no labels); `faces.csv` and `faces/<clip_id>.jpg`; `report.html`.
    """
    sources = read_sources(data)
    accuracies = tables.accuracies(sources, params)
    write_tables(sources, accuracies, reports)
    rows = faces.face_rows(sources.clips, sources.quality)
    _write_csv(reports / "faces.csv", rows, faces.COLUMNS)
    faces.write_sheets(rows, sources.quality, reports / "faces")
    (reports / "report.html").write_text(page(sources, accuracies, rows, params), encoding="utf-8")
    for kind in ("temporal", "fusion"):
        top = tables.best(accuracies, sources.reported, (kind,))[0]
        log.info("best %s on %s: %s, accuracy %.3f", kind, sources.reported, top["model"], top["accuracy"])
    log.info("evaluate: %d models, %d clips: %s/report.html", len(sources.models), len(sources.clips), reports)


def write_tables(sources: Sources, accuracies: Sequence[Row], reports: Path) -> None:
    """metrics.json and the csv files."""
    (reports / "confusion").mkdir(parents=True, exist_ok=True)
    metrics = json.dumps(tables.metrics_tree(accuracies), indent=2, sort_keys=True, allow_nan=False)
    (reports / "metrics.json").write_text(metrics + "\n", encoding="utf-8")
    _write_csv(reports / "classes.csv", class_table(sources.clips))
    _write_csv(reports / "accuracy.csv", accuracies)
    _write_csv(reports / "failures.csv", sources.failures, ("stage", "clip_id", "reason", "detail"))
    _write_csv(reports / "predictions.csv", tables.predictions(sources))
    for model in sources.models:
        _write_csv(reports / "confusion" / f"{model.name}.csv", tables.answers(sources, model))


def _write_csv(path: Path, rows: Sequence[Mapping[str, object]], header: Sequence[str] = ()) -> None:
    with open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, header or list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
