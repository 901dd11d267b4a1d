"""The stage `evaluate`: from the outputs of all other stages to the report."""

import json
import logging
from collections.abc import Collection, Sequence
from pathlib import Path

from emotion_pipeline.data.manifest import class_table
from emotion_pipeline.data.tables import write_rows, write_table
from emotion_pipeline.emotions import EMOTIONS
from emotion_pipeline.params import Params
from emotion_pipeline.report import paper, tables
from emotion_pipeline.report.page import page
from emotion_pipeline.report.sources import KINDS, Row, Sources, read_sources
from emotion_pipeline.run.keys import input_sha256

log = logging.getLogger(__name__)

READ = ("ingest/*.csv", "*/failures.csv", "finetune_*/**/*.csv", "gallery/*", "train_temporal/**/*", "fuse/**/*")
"""What the report is made of."""


def evaluate(data: Path, reports: Path, params: Params) -> None:
    """Write `reports` from the folders of all other stages, `data/<stage>/`.

    `metrics.json`; `classes.csv`, `accuracy.csv`, `failures.csv`, `predictions.csv`, `training/<model>.csv`,
    `confusion/<model>.csv` (test split, or val where test has no labels), `scores/<fusion>.csv` (all clips of test);
    the paper's tables, `tables/table_<n>.csv`; `report.html`. Raises UserError for a damaged file.
    """
    for path in (path for pattern in READ for path in sorted(data.glob(pattern)) if path.is_file()):
        input_sha256(path)
    _tell_leftovers(data, params)
    sources = read_sources(data, params)
    accuracies = tables.accuracies(sources, params.evaluate)
    write_tables(sources, accuracies, reports)
    (reports / "report.html").write_text(page(sources, accuracies, params.evaluate), encoding="utf-8")
    for kind in KINDS:
        for top in tables.best(accuracies, sources.reported, (kind,))[:1]:
            log.info("best %s on %s: %s, accuracy %.3f", kind, sources.reported, top["model"], top["accuracy"])
    log.info("evaluate: %d models, %d clips: %s/report.html", len(sources.models), len(sources.clips), reports)


def _tell_leftovers(data: Path, params: Params) -> None:
    """Warn of folders of removed entries: DVC leaves them, and `dvc.lock` then counts what no one else has."""
    named: dict[str, Collection[str]] = {
        "finetune_c3d": params.finetune_c3d,
        "train_temporal": params.train_temporal,
        "fuse": params.fusion,
    }
    for stage, entries in named.items():
        for folder in sorted(path for path in (data / stage).glob("*") if path.is_dir() and path.name not in entries):
            log.warning("%s: no entry of params.yaml; remove this folder, then `dvc repro`", folder)


def write_tables(sources: Sources, accuracies: Sequence[Row], reports: Path) -> None:
    """Write metrics.json and the csv files."""
    metrics = json.dumps(tables.metrics_tree(accuracies), indent=2, sort_keys=True, allow_nan=False)
    reports.mkdir(parents=True, exist_ok=True)
    (reports / "metrics.json").write_text(metrics + "\n", encoding="utf-8")
    write_table(reports / "classes.csv", class_table(sources.clips))
    write_table(reports / "accuracy.csv", accuracies)
    write_table(reports / "failures.csv", sources.failures, ("stage", "clip_id", "reason", "detail"))
    write_table(reports / "predictions.csv", tables.predictions(sources))
    write_table(reports / "tables" / "table_1.csv", tables.class_counts(sources))
    for number in paper.ROWS:
        write_table(reports / "tables" / f"table_{number}.csv", tables.paper_table(number, accuracies), tables.COLUMNS)
    compared = tables.compared_fusions(sources, accuracies)
    write_table(reports / "tables" / "fusions_compared.csv", compared, tables.COMPARED)
    for history in sources.histories:
        if "epoch" in history.columns:
            rows = zip(*history.columns.values(), strict=True)
            write_rows(reports / "training" / f"{history.name}.csv", [list(history.columns), *rows])
    for model in sources.models:
        write_table(reports / "confusion" / f"{model.name}.csv", tables.answers(sources, model))
        if model.kind == "fusion":
            header = ("clip_id", "predicted", *EMOTIONS)
            write_table(reports / "scores" / f"{model.name}.csv", tables.test_scores(sources, model), header)
