"""Small csv files: one writer and one reader."""

import csv
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from emotion_pipeline.data.artifact import atomic

Value = str | int | float | None


def write_rows(path: Path, rows: Iterable[Sequence[Value]], exact: bool = False) -> None:
    """Write a csv file, its header the first row; numbers with six significant digits or `exact`, None as nothing."""
    with atomic(path) as temporary, open(temporary, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerows([[f"{v:.6g}" if isinstance(v, float) and not exact else v for v in row] for row in rows])


def write_table(
    path: Path, rows: Sequence[Mapping[str, Value]], header: Sequence[str] = (), exact: bool = False
) -> None:
    """Write rows of equal keys as `write_rows` does; `header` is needed where there may be no row."""
    names = header or list(rows[0])
    write_rows(path, [names, *([row.get(name) for name in names] for row in rows)], exact)


def read_table(path: Path) -> list[dict[str, str]]:
    """Return the rows of a csv file by the names in its header."""
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))
