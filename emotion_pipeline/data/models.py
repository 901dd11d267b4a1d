"""Our own trained models on disk: tensors and a description, no pickle."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from emotion_pipeline.data.artifact import atomic
from emotion_pipeline.errors import UserError

Description = Mapping[str, Any]


def write_model(path: Path, tensors: Mapping[str, np.ndarray], description: Description) -> None:
    """Write a safetensors file; the description (what JSON can say) goes into its one metadata entry `model`.

    One entry only: safetensors writes several in an order that changes from run to run.
    """
    arrays = {key: np.ascontiguousarray(value) for key, value in tensors.items()}
    data = save(arrays, metadata={"model": json.dumps(description, sort_keys=True)})
    with atomic(path) as temporary:
        temporary.write_bytes(data)


def read_model(path: Path) -> tuple[dict[str, np.ndarray], Description]:
    """The tensors and the description that `write_model` wrote. Raises UserError for any other file."""
    try:
        with safe_open(str(path), framework="numpy") as file:
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118  # not a mapping
            return tensors, json.loads(file.metadata()["model"])
    except (SafetensorError, TypeError, KeyError, ValueError) as error:
        raise UserError(f"{path}: no model of this pipeline ({error}); `dvc repro` trains it again") from error
