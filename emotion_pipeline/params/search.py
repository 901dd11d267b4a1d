"""`params/search.yaml` as a frozen record: the values that a search tries. No stage depends on it."""

from pathlib import Path

from emotion_pipeline.params.base import Name, Section, WholeNumber
from emotion_pipeline.params.file import read_yaml

Scalar = bool | int | float | str | None
Value = Scalar | tuple[Scalar, ...]
Grid = dict[str, tuple[Value, ...]]


class SearchParams(Section):
    """Values to try, by model and key."""

    seed: WholeNumber  # of the order in which a grid's points are tried
    train_temporal: dict[Name, Grid]
    fusion: dict[Name, Grid]


def load_search(path: Path = Path("params/search.yaml")) -> SearchParams:
    """Read and check the file. Raises UserError with one line per wrong key."""
    return read_yaml(path, SearchParams)
