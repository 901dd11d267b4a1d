"""A trained model as a record and as a file: what temporal models and fusions have in common."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from pydantic import TypeAdapter
from torch import nn

from emotion_pipeline.data.models import read_model, write_model
from emotion_pipeline.data.sequences import Standardisation
from emotion_pipeline.emotions import EMOTIONS
from emotion_pipeline.errors import UserError
from emotion_pipeline.params import FusionParams, TemporalParams
from emotion_pipeline.training.loop import Row

PARAMS: TypeAdapter = TypeAdapter(TemporalParams | FusionParams)
PARTS = ("mean", "scale")


class Run(NamedTuple):
    """How one training runs: with which seed, where, and the file from which an interrupted one goes on."""

    seed: int
    device: torch.device
    checkpoint: Path | None = None


@dataclass(frozen=True)
class Model:
    """What a training has found: its parameters, tensors by name, and the rows of its history.csv, the header first.

    Names of tensors: `model.<name>` of a network or machine, `standardise.<what>.mean` and `.scale`, `weights`.
    `inputs`: width of the features that a temporal model reads.
    """

    params: Any  # TemporalParams or FusionParams
    tensors: Mapping[str, np.ndarray] = field(default_factory=dict)
    history: tuple[Row, ...] = ()
    inputs: int = 0

    def load(self, network: nn.Module, device: torch.device) -> nn.Module:
        """Return the network with the tensors of this model, on the device, in eval mode."""
        named = ((key.partition("."), values) for key, values in self.tensors.items())
        network.load_state_dict({name: torch.from_numpy(v) for (kind, _, name), v in named if kind == "model"})
        return network.to(device).eval()

    def scaling(self, what: str) -> Standardisation | None:
        """Return what standardises the inputs of this name; None where nothing does."""
        values = [self.tensors[name] for part in PARTS if (name := f"standardise.{what}.{part}") in self.tensors]
        return Standardisation(*values) if values else None


def network_tensors(network: nn.Module, scaling: Mapping[str, Standardisation | None]) -> dict[str, np.ndarray]:
    """Return the tensors of a `Model`: those of a network, and what standardises its inputs, by name."""
    tensors = {f"model.{key}": value.cpu().numpy() for key, value in network.state_dict().items()}
    return tensors | scaling_tensors(scaling)


def scaling_tensors(scaling: Mapping[str, Standardisation | None]) -> dict[str, np.ndarray]:
    """Return the tensors of a `Model` that standardise its inputs, by name."""
    return {f"standardise.{what}.{part}": getattr(by, part) for what, by in scaling.items() if by for part in PARTS}


def write_trained(path: Path, model: Model) -> None:
    """Write a safetensors file that `read_trained` reads back."""
    params = model.params.model_dump(mode="json")
    described = {"params": params, "classes": EMOTIONS, "inputs": model.inputs, "history": model.history}
    write_model(path, model.tensors, described)


def read_trained(path: Path) -> Model:
    """Return the model of a file. Raises UserError for any other file."""
    tensors, described = read_model(path)
    try:
        params = PARAMS.validate_python(described["params"])
        return Model(params, tensors, tuple(map(tuple, described["history"])), int(described["inputs"]))
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(f"{path}: no model of this version of the pipeline ({error}); `dvc repro` trains it") from error
