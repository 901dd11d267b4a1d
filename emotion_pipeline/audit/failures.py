"""The command `failures`: the clips that some stage could not use, with the reasons."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from emotion_pipeline.errors import UserError
from emotion_pipeline.report.sources import KINDS, failure_rows
from emotion_pipeline.report.tables import failures_by_clip


def list_failures(data: Path, outs: Iterable[Path]) -> list[dict[str, Any]]:
    """Return a row for each clip and reason, sorted: clip_id, reason, detail, the first stage that says so, `also_in`.

    `outs` are the outputs of all stages, in the order in which these run. Those of models only repeat the list of their
    features. Raises UserError where no stage has run.
    """
    folders = {out.relative_to(data): out for out in outs if (out / "failures.csv").is_file()}
    features = {name.as_posix(): out for name, out in folders.items() if name.parts[0] not in KINDS.values()}
    if not features:
        raise UserError(f"{data}: no failures.csv in any stage's folder; run `dvc repro` or `dvc pull`")
    return [
        {"clip_id": clip_id, "reason": reason, "detail": detail, "stage": stages[0], "also_in": stages[1:]}
        for clip_id, reason, detail, stages in failures_by_clip(failure_rows(features))
    ]


def as_text(rows: Sequence[dict[str, Any]]) -> str:
    """Return a line for each row, and the number of clips."""
    if not rows:
        return "no clip failed"
    lines = [f"{r['clip_id']}: {r['reason']}: {r['detail']} ({', '.join((r['stage'], *r['also_in']))})" for r in rows]
    return "\n".join([*lines, "", f"{len({row['clip_id'] for row in rows})} clips"])
