"""The stage `evaluate`: from the outputs of all other stages to the report."""

import json
import logging
from base64 import b64encode
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from emotion_pipeline.data.manifest import class_table
from emotion_pipeline.data.tables import write_rows, write_table
from emotion_pipeline.emotions import EMOTIONS
from emotion_pipeline.params import EvaluateParams, Params
from emotion_pipeline.report import figures, paper, tables
from emotion_pipeline.report.sources import KINDS, Model, Row, Sources, read_sources
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


def page(sources: Sources, accuracies: Sequence[Row], params: EvaluateParams) -> str:
    """Return report.html, which needs nothing beside it. Every text from outside is escaped."""
    splits: list[str] = [split for split in ("val", "test") if split in sources.rows] or [sources.reported]
    chances = {split: tables.chance(sources, split) for split in splits}
    drawn = [model for model in sources.models if model.kind != "baseline"]
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"percent": _percent, "data_uri": _data_uri}
    return environment.get_template("page.html").render(
        sources=sources,
        params=params,
        accuracies=accuracies,
        numbers={(row["model"], row["split"]): row for row in accuracies},
        splits=splits,
        chances=chances,
        bars=figures.accuracy_bars(drawn, accuracies, splits, {split: pair[0] for split, pair in chances.items()}),
        matrices=[_matrix(sources, model) for model in drawn],
        classes=class_table(sources.clips),
        emotions=EMOTIONS,
        figures=figures,
        paper=paper,
        tables=tables,
    )


def _percent(value: float | None, digits: int = 1) -> str:
    """Return 0.4286 as "42.9"; a dash where there is no number."""
    return "–" if value is None else f"{100 * value:.{digits}f}"


def _data_uri(content: bytes, kind: str) -> str:
    """Return an image as the text of an `src` attribute."""
    return f"data:image/{kind};base64,{b64encode(content).decode()}"


def _matrix(sources: Sources, model: Model) -> dict[str, Any]:
    """Return one confusion matrix: for each class its number of clips, and counts (over all seeds) and shares."""
    counts = tables.confusion_with_absent(sources, model)
    silent = bool(counts[:, -1].any())
    rows = []
    for name, line in zip(EMOTIONS, counts.tolist(), strict=True):
        n, cells = sum(line), line if silent else line[:-1]
        rows.append((name, n // len(model.scores), [(count, count / n if n else 0.0) for count in cells]))
    return {"model": model, "silent": silent, "rows": rows}
