"""Trained networks and models on disk: tensors and a description in one safetensors file, no pickle."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from emotion_pipeline.data.artifact import atomic
from emotion_pipeline.errors import UserError

ENTRY = "emotion_pipeline"
"""The one entry of the metadata. safetensors writes several entries in an order that changes from run to run."""


def write_model(path: Path, tensors: Mapping[str, np.ndarray], description: Mapping[str, object]) -> None:
    """Write tensors and a description (what JSON can say). The same content gives the same bytes."""
    arrays = {name: np.ascontiguousarray(tensor) for name, tensor in tensors.items()}
    data = save(arrays, metadata={ENTRY: json.dumps(description, sort_keys=True)})
    with atomic(path) as temporary:
        temporary.write_bytes(data)


def read_model(path: Path) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Return the tensors and the description that `write_model` wrote. Raises UserError for any other file."""
    try:
        with safe_open(str(path), framework="numpy") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  # not a mapping
            description = json.loads((file.metadata() or {}).get(ENTRY, "null"))
    except (OSError, SafetensorError, TypeError, ValueError) as error:
        raise UserError(f"{path}: not a safetensors file ({error}); make or fetch it again") from error
    if not isinstance(description, dict):
        raise UserError(f"{path}: expected a model written by this pipeline, found no description; make it again")
    return tensors, description
