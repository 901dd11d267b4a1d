"""The report as one HTML file that needs nothing beside it."""

from base64 import b64encode
from collections.abc import Sequence
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
"""How each kind of models is written, in the order shown."""


def page(sources: Sources, accuracies: Sequence[Row], params: EvaluateParams) -> str:
    """Return the whole page. Every text from outside is escaped."""
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
    environment.filters |= {"percent": percent, "data_uri": data_uri}
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
        kinds=KINDS,
        emotions=EMOTIONS,
        figures=figures,
        paper=paper,
        tables=tables,
    )


def percent(value: float | None, digits: int = 1) -> str:
    """Return 0.4286 as "42.9"; a dash where there is no number."""
    return "–" if value is None else f"{100 * value:.{digits}f}"


def data_uri(content: bytes, kind: str) -> str:
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
