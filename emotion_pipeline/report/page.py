"""The report as one HTML file that needs nothing beside it."""

from base64 import b64encode
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from emotion_pipeline.data.manifest import class_table
from emotion_pipeline.emotions import EMOTIONS
from emotion_pipeline.params import EvaluateParams
from emotion_pipeline.report import figures, paper, tables
from emotion_pipeline.report.sources import Model, Row, Sources

KINDS = {
    "temporal": "Single modalities",
    "fusion": "Fusions",
    "baseline": "Comparisons: no sequence model, or another classifier",
}
DRAWN = ("temporal", "fusion")
"""Kinds in the figure of accuracies."""


def page(sources: Sources, accuracies: Sequence[Row], params: EvaluateParams) -> str:
    """Return the whole page. Every text from outside is escaped."""
    shown: list[str] = [split for split in ("val", "test") if split in sources.rows] or [sources.reported]
    chances = {split: tables.chance(sources, split) for split in shown}
    drawn = [model for model in sources.models if model.kind in DRAWN]
    bars = figures.accuracy_bars(drawn, accuracies, shown, {s: c[0] for s, c in chances.items()})
    models = {model.name: model for model in sources.models}
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["percent"] = percent
    return environment.get_template("page.html").render(
        title=params.title,
        params=params,
        kinds={kind: title for kind, title in KINDS.items() if kind in {model.kind for model in sources.models}},
        models=sources.models,
        titles={name: model.title for name, model in models.items()},
        seeds=len(sources.models[0].scores),
        paper_tables=[(n, paper.TITLES[n], tables.paper_table(n, accuracies)) for n in paper.ROWS],
        compared=tables.compared_fusions(sources, accuracies),
        table_1=tables.class_counts(sources),
        figure_7=paper.FIGURE_7,
        splits=shown,
        reported=sources.reported,
        numbers={(row["model"], row["split"]): row for row in accuracies},
        best={split: tables.best(accuracies, split) for split in shown},
        tops=_tops(accuracies, sources.reported),
        chances=chances,
        bars=data_uri(bars, "svg+xml"),
        matrices=[_matrix(sources, model) for model in drawn],
        classes=class_table(sources.clips),
        counts=_counts(sources),
        emotions=EMOTIONS,
        strips=[_with_uri(strip) for strip in sources.gallery.strips],
        face_summary=sources.gallery.summary,
        sheets=[(row, data_uri(sheet, "jpeg") if sheet else None) for row, sheet in sources.gallery.sheets],
        stills=sources.still_accuracy,
        curves=[(h.title, data_uri(figures.training_curves(h), "svg+xml")) for h in sources.histories],
        failure_counts=tables.failure_counts(sources.failures),
        failures=tables.failures_by_clip(sources.failures),
        stages_without_failures=tables.silent_stages(sources),
    )


def percent(value: float | None, digits: int = 1) -> str:
    """0.4286 -> "42.9"; a dash where there is no number."""
    return "–" if value is None else f"{100 * value:.{digits}f}"


def data_uri(content: bytes, kind: str) -> str:
    """A picture as the text of an `src` attribute."""
    return f"data:image/{kind};base64,{b64encode(content).decode()}"


def _tops(accuracies: Sequence[Row], split: str) -> dict[str, list[Row]]:
    return {kind: best for kind in KINDS if (best := tables.best(accuracies, split, (kind,)))}


def _counts(sources: Sources) -> dict[str, Any]:
    clips = sources.clips
    return {
        "clips": len(clips),
        "labelled": sum(len(rows) for rows in sources.rows.values()),
        "subjects": len({clip.subject for clip in clips if clip.subject}),
        "outside": sum(not clip.split for clip in clips),
        "split": {split: len(rows) for split, rows in sources.rows.items()},
    }


def _matrix(sources: Sources, model: Model) -> dict[str, Any]:
    """One confusion matrix: per row the class, its number of clips, and per cell count (over all seeds) and share."""
    counts = tables.confusion_with_absent(sources, model)
    silent = bool(counts[:, -1].any())
    rows = []
    for name, line in zip(EMOTIONS, counts.tolist(), strict=True):
        n, cells = sum(line), line if silent else line[:-1]
        rows.append((name, n // len(model.scores), [(count, count / n if n else 0.0) for count in cells]))
    return {"model": model, "silent": silent, "rows": rows}


def _with_uri(strip: Mapping[str, Any]) -> dict[str, Any]:
    """A strip of faces whose picture, if it has one, is the text of an `src` attribute."""
    return dict(strip) | ({"picture": data_uri(strip["picture"], "jpeg")} if "picture" in strip else {})
