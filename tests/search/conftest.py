"""A search for the audio perceptron on the small generated features of the tests of temporal models."""

from dataclasses import replace
from pathlib import Path

import pytest

from emotion_pipeline.data.manifest import write_manifest
from emotion_pipeline.params import Params
from emotion_pipeline.params.file import SearchParams
from emotion_pipeline.search.grid import Search
from tests.temporal.conftest import clips, features  # noqa: F401  # fixtures

TARGET = "train_temporal.audio_mlp"
GRID = {"dropout": (0.0, 0.2, 0.4), "learning_rate": (0.01, 0.003)}


def ranges(grid: dict, target: str = TARGET) -> SearchParams:
    part, name = target.split(".")
    return SearchParams(**{"seed": 1, "train_temporal": {}, "fusion": {}} | {part: {name: grid}})


def other(search: Search, grid: dict, target: str = TARGET) -> Search:
    return replace(search, target=target, ranges=ranges(grid, target))


@pytest.fixture(scope="session")
def small(params: Params) -> Params:
    """Quick trainings."""
    mlp = params.train_temporal["audio_mlp"]
    mlp = mlp.model_copy(update={"descriptor": 5, "epochs": 3, "refit": False})
    return params.model_copy(update={"train_temporal": {**params.train_temporal, "audio_mlp": mlp}})


@pytest.fixture(scope="session")
def data(features: Path, clips: list) -> Path:  # noqa: F811
    (features / "ingest").mkdir(exist_ok=True)
    write_manifest(features / "ingest" / "clips.csv", clips)
    return features


@pytest.fixture(scope="session")
def search(small: Params, data: Path) -> Search:
    """Two values by three."""
    return Search(TARGET, small, ranges(GRID), data)
