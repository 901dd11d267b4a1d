"""Files of network weights: the published ones with the preprocessing they expect, and our own.

Everything is read as tensors only; a file can bring no code with it.
"""

import json
import pickle
import warnings
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import safetensors
import safetensors.torch
import torch
from torch import Tensor

from emotion_pipeline.clips import UserError
from emotion_pipeline.emotions import EMOTIONS
from emotion_pipeline.features.network import FaceNetwork, Preprocessing
from emotion_pipeline.store import atomic

N = TypeVar("N", bound=FaceNetwork)

METADATA = "emotion_pipeline"
"""The one key of our files' metadata: safetensors keeps no order among several."""


@dataclass(frozen=True)
class Weights:
    """One published file: where it comes from, its terms, and the preprocessing it was trained with."""

    network: str
    address: str
    licence: str
    sha256: str | None  # None: its publisher states none
    classes: int
    preprocessing: Preprocessing


WEIGHTS = {
    "vgg_face_dag.pth": Weights(
        network="vgg_face",
        address="http://www.robots.ox.ac.uk/~albanie/models/pytorch-mcn/vgg_face_dag.pth",
        licence="non-commercial research (Oxford VGG; Parkhi et al. 2015)",
        sha256=None,
        classes=2622,
        preprocessing=Preprocessing(224, "RGB", (129.1863, 104.7624, 93.5940), 1.0),
    ),
    "c3d.pickle": Weights(
        network="c3d",
        address="http://imagelab.ing.unimore.it/files/c3d_pytorch/c3d.pickle",
        licence="CC BY-NC 3.0 (Tran et al. 2015, Sports-1M)",
        sha256=None,
        classes=487,
        preprocessing=Preprocessing(112, "BGR", (90.25, 97.66, 101.41), 1.0),
    ),
}
"""By file name. Both files are state dictionaries with our layer names (conv1_1.weight ..., conv1.weight ...)."""


UNIT_RANGE = 1 / 64
"""Scale of the input of a network that starts at random: values of about unit variance instead of -129 to 162."""


def starting_network(
    build: type[N], width: float, keep_probability: float, file: Path | None, pixels: int | None = None
) -> N:
    """A network for the seven classes that starts from a file of weights, or at random.

    The last layer of a published file is for other classes: it is not taken. `pixels`: side of the input of a network
    that starts at random, if it is not that of the published one.
    Draws from torch's generator. Raises UserError as `read_published`, `read_own` and `load_tensors`.
    """
    standard = next(record.preprocessing for record in WEIGHTS.values() if record.network == build.name)
    classes = len(EMOTIONS)
    if file is None:
        own = replace(standard, scale=UNIT_RANGE, pixels=pixels or standard.pixels)
        return build(classes, width, keep_probability, own)
    if file.suffix == ".safetensors":
        described, tensors = read_own(file, build.name)
        network = build(classes, width, keep_probability, Preprocessing(**described["preprocessing"]))
        load_tensors(network, tensors, file)
    else:
        record, tensors = read_published(file, build.name)
        network = build(classes, width, keep_probability, record.preprocessing)
        load_tensors(network, tensors, file, skip="fc8")
    return network


def read_published(path: Path, network: str) -> tuple[Weights, dict[str, Tensor]]:
    """Record and tensors of a file that has a record in `WEIGHTS`.

    Raises UserError for a file without a record, for another network's, and as `_tensors_of_torch`.
    """
    known = {name: record for name, record in WEIGHTS.items() if record.network == network}
    if path.name not in known:
        raise UserError(
            f"{path}: weights of {network} are read from {_list(known)} or from a .safetensors file of ours"
        )
    _require(path, f"download it from {known[path.name].address} ({known[path.name].licence})")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # on files that then are refused below
            tensors = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, LookupError, ValueError) as error:
        reason = str(error).partition("\n")[0] or type(error).__name__
        raise UserError(f"{path}: not a PyTorch file of tensors ({reason}); download it again") from error
    if not isinstance(tensors, Mapping) or not all(isinstance(t, Tensor) for t in tensors.values()):
        raise UserError(f"{path}: expected a dictionary of tensors, found {type(tensors).__name__}; download it again")
    return known[path.name], dict(tensors)


def load_tensors(network: FaceNetwork, tensors: Mapping[str, Tensor], path: Path, skip: str | None = None) -> None:
    """Copy tensors into the layers of the same name, all but the layer `skip`.

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
    network.load_state_dict({k: v.to(torch.float32) for k, v in offered.items()}, strict=False)


def save_network(path: Path, network: FaceNetwork, precision: torch.dtype = torch.float32) -> None:
    """Write weights and all that `load_network` needs; the same network always gives the same bytes."""
    described = {
        "network": network.name,
        "width": network.width,
        "classes": network.classes,
        "preprocessing": asdict(network.preprocessing),
    }
    tensors = {k: v.detach().cpu().to(precision).contiguous() for k, v in network.state_dict().items()}
    data = safetensors.torch.save(tensors, {METADATA: json.dumps(described, sort_keys=True)})
    with atomic(path) as temporary:
        temporary.write_bytes(data)


def load_network(path: Path, build: type[N]) -> N:
    """The network of a file of ours, in evaluation mode. Raises UserError where it is none, or another network."""
    described, tensors = read_own(path, build.name)
    network = build(described["classes"], described["width"], 1.0, Preprocessing(**described["preprocessing"]))
    load_tensors(network, tensors, path)
    return network.eval()


def read_own(path: Path, network: str) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """What `save_network` wrote: the description and the tensors. Raises UserError as `load_network`."""
    _require(path, f"run `dvc repro finetune_{'vgg' if network == 'vgg_face' else network}`")
    try:
        with safetensors.safe_open(path, "pt") as file:
            described = json.loads((file.metadata() or {}).get(METADATA, "null"))
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (safetensors.SafetensorError, json.JSONDecodeError) as error:
        raise UserError(f"{path}: not a safetensors file ({error}); make it again") from error
    if described:
        described["preprocessing"]["mean"] = tuple(described["preprocessing"]["mean"])
    found = described["network"] if described else "no description"
    if found != network:
        raise UserError(f"{path}: expected a {network} written by this pipeline, found {found}")
    return described, tensors


def _require(path: Path, remedy: str) -> None:
    if not path.is_file():
        raise UserError(f"{path}: no such weights file; {remedy}, or set `weights` to null for a random start")


def _list(names: Mapping[str, object] | set[str]) -> str:
    ordered = sorted(names)
    return ", ".join(ordered[:4]) + (f" and {len(ordered) - 4} more" if len(ordered) > 4 else "") or "nothing"
