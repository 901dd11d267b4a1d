"""Networks from files of weights, the published ones and our own, and back to a file.

Everything is read as tensors only; a file can bring no code with it.
"""

from collections.abc import Mapping
from dataclasses import asdict, replace
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor

from emotion_pipeline.data.models import read_model, write_model
from emotion_pipeline.emotions import EMOTIONS
from emotion_pipeline.errors import UserError
from emotion_pipeline.features.network import FaceNetwork
from emotion_pipeline.training.device import device_of
from emotion_pipeline.weights.fetch import check
from emotion_pipeline.weights.readers import READERS
from emotion_pipeline.weights.registry import PUBLISHED, Preprocessing

N = TypeVar("N", bound=FaceNetwork)

UNIT_RANGE = 1 / 64
"""Scale of the input of a network that starts at random: values of about unit variance instead of -129 to 162."""


def starting_network(build: type[N], width: float, dropout: float, file: Path | None, pixels: int | None = None) -> N:
    """Return a network for the seven classes that starts from a file of weights, or at random.

    The last layer of a published file is for other classes: it is not taken. `pixels`: side of the input of a network
    that starts at random, if it is not that of the published one. Draws from torch's generator. Raises UserError as
    `read_published`, `read_own` and `fitting`.
    """
    classes = len(EMOTIONS)
    if file is None:
        own = replace(build.standard, scale=UNIT_RANGE, pixels=pixels or build.standard.pixels)
        return build(classes, width, dropout, own)
    if file.suffix == ".safetensors":
        described, tensors = read_own(file, build.name)
        preprocessing, skip = described["preprocessing"], None
    else:
        preprocessing, tensors = read_published(file, build.name)
        skip = "fc8"
    network = build(classes, width, dropout, preprocessing)
    network.load_state_dict(fitting(network, tensors, file, skip), strict=False)
    return network


def read_published(path: Path, network: str) -> tuple[Preprocessing, dict[str, Tensor]]:
    """Return the preprocessing and the tensors, under our layer names, of a file that has a record in `PUBLISHED`.

    Raises UserError for a file without a record, for another network's, for a wrong checksum, and as its reader.
    """
    known = {name: record for name, record in PUBLISHED.items() if record.network == network}
    record = known.get(path.name)
    if record is None or record.preprocessing is None:
        raise UserError(
            f"{path}: weights of {network} are read from {_list(known)} or from a .safetensors file of ours"
        )
    check(path.name, path)
    return record.preprocessing, READERS[record.layout](path)


def fitting(
    network: FaceNetwork, tensors: Mapping[str, Tensor], path: Path, skip: str | None = None
) -> dict[str, Tensor]:
    """Return the tensors without those of the layer `skip`, after a check that they are the network's.

    Raises UserError naming file, layer, expected and found where one is missing, too many, or of another shape.
    """
    wanted = {k: v for k, v in network.state_dict().items() if k.split(".")[0] != skip}
    offered = {k: v for k, v in tensors.items() if k.split(".")[0] != skip}
    for name, own in wanted.items():
        if name not in offered:
            raise UserError(
                f"{path}: layer {name} is missing; expected {tuple(own.shape)}, found only {_list(offered)};"
                f" this is not a whole {network.name}"
            )
        if own.shape != offered[name].shape:
            raise UserError(
                f"{path}: layer {name}: expected {tuple(own.shape)} for {network.name} at width {network.width:g},"
                f" found {tuple(offered[name].shape)}; set `width` to that of the file (published weights: 1)"
            )
    if unknown := offered.keys() - wanted.keys():
        raise UserError(f"{path}: {network.name} has no layer {_list(unknown)}; expected {_list(wanted)}")
    return offered


def save_network(path: Path, network: FaceNetwork, notes: Mapping[str, object] | None = None) -> None:
    """Write weights and all that `load_network` needs. The same network always gives the same bytes.

    `notes`: tables of the training by name, each with its header first; an entry of the file's description.
    """
    described = {
        "network": network.name,
        "width": network.width,
        "classes": network.classes,
        "preprocessing": asdict(network.preprocessing),
        "notes": dict(notes or {}),
    }
    write_model(path, {name: tensor.cpu().numpy() for name, tensor in network.state_dict().items()}, described)


def halve(source: Path, target: Path) -> None:
    """Copy a file of `save_network` with its numbers as float16 (three digits): half the bytes, for sharing.

    Raises UserError as `read_model`, and for a number that float16 does not hold.
    """
    tensors, described = read_model(source)
    with np.errstate(over="ignore"):
        halves = {name: tensor.astype(np.float16) for name, tensor in tensors.items()}
    for name, tensor in halves.items():
        if not np.isfinite(tensor).all():
            raise UserError(f"{source}: layer {name} has a number beyond 65504, the largest of float16; keep the file")
    write_model(target, halves, described)


def load_network(path: Path, build: type[N]) -> N:
    """Return the network of a file of ours, in evaluation mode. Raises UserError as `read_own` and `fitting`."""
    described, tensors = read_own(path, build.name)
    network = build(described["classes"], described["width"], 0.0, described["preprocessing"])
    network.load_state_dict(fitting(network, tensors, path))
    return network.eval()


def loaded(path: Path, build: type[N], device: str) -> N:
    """Return the network of a file of ours where it is to run. The last one stays in memory until its file changes."""
    return _loaded(path, path.stat().st_mtime_ns, build, device)  # type: ignore[arg-type]


@lru_cache(maxsize=1)
def _loaded(path: Path, _changed: int, build: type[N], device: str) -> N:
    return load_network(path, build).to(device_of(device))


def read_own(path: Path, network: str) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Return the description and the tensors that `save_network` wrote.

    Raises UserError where the file is not one of ours, or another network's.
    """
    tensors, described = read_model(path)
    if described.get("network") != network:
        raise UserError(f"{path}: expected a {network} written by this pipeline, found {described.get('network')}")
    how = described["preprocessing"]
    described["preprocessing"] = Preprocessing(**how | {"mean": tuple(how["mean"])})
    return described, {name: torch.from_numpy(tensor) for name, tensor in tensors.items()}


def _list(names: Mapping[str, object] | set[str]) -> str:
    ordered = sorted(names)
    return ", ".join(ordered[:4]) + (f" and {len(ordered) - 4} more" if len(ordered) > 4 else "") or "nothing"
