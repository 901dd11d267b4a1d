"""Files of network weights: the published ones with the preprocessing they expect, and our own.

Everything is read as tensors only; a file can bring no code with it.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import safetensors
import safetensors.torch
import torch
from torch import Tensor

from emotion_pipeline.data.artifact import atomic
from emotion_pipeline.emotions import EMOTIONS
from emotion_pipeline.errors import UserError
from emotion_pipeline.features.network import FaceNetwork, Preprocessing
from emotion_pipeline.features.published import READERS, Layout
from emotion_pipeline.weights.fetch import require_sha256

N = TypeVar("N", bound=FaceNetwork)

METADATA = "emotion_pipeline"
"""The one key of our files' metadata: safetensors keeps no order among several."""

OXFORD = "non-commercial research (Oxford VGG; Parkhi et al. 2015)"
SPORTS_1M = "CC BY-NC 3.0 (Tran et al. 2015, Sports-1M)"
RED, GREEN, BLUE = 129.1863, 104.7624, 93.5940
"""VGG-Face's mean pixel."""


@dataclass(frozen=True)
class Weights:
    """One published file: where it comes from, its terms, its layers, and the preprocessing it is used with."""

    network: str
    address: str
    licence: str
    sha256: str | None  # or its first digits, as far as the publisher states them
    layout: Layout
    preprocessing: Preprocessing


WEIGHTS = {
    "vgg_face_dag.pth": Weights(
        network="vgg_face",
        address="http://www.robots.ox.ac.uk/~albanie/models/pytorch-mcn/vgg_face_dag.pth",
        licence=OXFORD,
        sha256=None,
        layout="torch",
        preprocessing=Preprocessing(224, "RGB", (RED, GREEN, BLUE), 1.0),
    ),
    "rcmalli_vggface_tf_vgg16.h5": Weights(
        network="vgg_face",
        address="https://github.com/rcmalli/keras-vggface/releases/download/v2.0/rcmalli_vggface_tf_vgg16.h5",
        licence=OXFORD,
        sha256=None,
        layout="keras",
        preprocessing=Preprocessing(224, "BGR", (BLUE, GREEN, RED), 1.0),
    ),
    # Disputed (deepface issues 131, 944, 1300): deepface itself feeds BGR in [0, 1] and subtracts nothing. Its author
    # describes how he converted MatConvNet's file (sefiks.com, 2019/07/15), which expects RGB 0-255 less the mean: so
    # here. Settled by comparing conv1_1 with that of vgg_face_dag.pth: equal, or with the input channels reversed.
    "vgg_face_weights.h5": Weights(
        network="vgg_face",
        address="https://github.com/serengil/deepface_models/releases/download/v1.0/vgg_face_weights.h5",
        licence=OXFORD,
        sha256=None,
        layout="keras_in_order",
        preprocessing=Preprocessing(224, "RGB", (RED, GREEN, BLUE), 1.0),
    ),
    "c3d.pickle": Weights(
        network="c3d",
        address="http://imagelab.ing.unimore.it/files/c3d_pytorch/c3d.pickle",
        licence=SPORTS_1M,
        sha256=None,
        layout="torch",
        preprocessing=Preprocessing(112, "BGR", (90.25, 97.66, 101.41), 1.0),
    ),
    # As mmaction2 fine-tunes from it, which is not how C3D was trained: RGB, another mean, and pool5 padded on both
    # sides. Its windows over the 7 x 7 map begin at -1, 1, 3, 5, not at 0, 2, 4, 6: fc6 sees another grid of 4 x 4.
    "c3d_sports1m_pretrain_20201016-dcc47ddc.pth": Weights(
        network="c3d",
        address="https://download.openmmlab.com/mmaction/recognition/c3d/c3d_sports1m_pretrain_20201016-dcc47ddc.pth",
        licence=SPORTS_1M,
        sha256="dcc47ddc",
        layout="mmaction2",
        preprocessing=Preprocessing(112, "RGB", (104.0, 117.0, 128.0), 1.0, pool5="both_sides"),
    ),
}
"""By file name; the first of each network gives the size, order and mean of a network that starts at random."""

UNIT_RANGE = 1 / 64
"""Scale of the input of a network that starts at random: values of about unit variance instead of -129 to 162."""


def starting_network(build: type[N], width: float, dropout: float, file: Path | None, pixels: int | None = None) -> N:
    """A network for the seven classes that starts from a file of weights, or at random.

    The last layer of a published file is for other classes: it is not taken. `pixels`: side of the input of a network
    that starts at random, if it is not that of the published one.
    Draws from torch's generator. Raises UserError as `read_published`, `read_own` and `load_tensors`.
    """
    standard = next(record.preprocessing for record in WEIGHTS.values() if record.network == build.name)
    classes = len(EMOTIONS)
    if file is None:
        own = replace(standard, scale=UNIT_RANGE, pixels=pixels or standard.pixels)
        return build(classes, width, dropout, own)
    if file.suffix == ".safetensors":
        described, tensors = read_own(file, build.name)
        network = build(classes, width, dropout, Preprocessing(**described["preprocessing"]))
        load_tensors(network, tensors, file)
    else:
        record, tensors = read_published(file, build.name)
        network = build(classes, width, dropout, record.preprocessing)
        load_tensors(network, tensors, file, skip="fc8")
    return network


def read_published(path: Path, network: str) -> tuple[Weights, dict[str, Tensor]]:
    """Record and tensors of a file that has a record in `WEIGHTS`.

    Raises UserError for a file without a record, for another network's, and as `read_record`.
    """
    known = {name: record for name, record in WEIGHTS.items() if record.network == network}
    if path.name not in known:
        raise UserError(
            f"{path}: weights of {network} are read from {_list(known)} or from a .safetensors file of ours"
        )
    address, licence = known[path.name].address, known[path.name].licence
    _require(path, f"`python -m emotion_pipeline weights get {path.name}` downloads it from {address} ({licence})")
    return known[path.name], read_record(path, known[path.name])


def read_record(path: Path, record: Weights) -> dict[str, Tensor]:
    """The tensors of a file, in our layout. Raises UserError for a wrong checksum, and as the readers."""
    if record.sha256:
        require_sha256(path, record.sha256, path, "download it again")
    return READERS[record.layout](path)


def load_tensors(network: FaceNetwork, tensors: Mapping[str, Tensor], path: Path, skip: str | None = None) -> None:
    """Copy tensors into the layers of the same name, all but the layer `skip`. Raises as `fitting`."""
    offered = fitting(network, tensors, path, skip)
    network.load_state_dict({k: v.to(torch.float32) for k, v in offered.items()}, strict=False)


def fitting(
    network: FaceNetwork, tensors: Mapping[str, Tensor], path: Path, skip: str | None = None
) -> dict[str, Tensor]:
    """The tensors without those of the layer `skip`, after a check that they are the network's.

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
    """Write weights and all that `load_network` needs; the same network always gives the same bytes.

    `notes`: tables of the training by name, which `network_notes` gives back.
    """
    described = {
        "network": network.name,
        "width": network.width,
        "classes": network.classes,
        "preprocessing": asdict(network.preprocessing),
        "notes": dict(notes or {}),
    }
    _write(path, described, network.state_dict())


def network_notes(path: Path) -> dict[str, list[list[Any]]]:
    """Return the tables of its training that a file of `save_network` holds, by name; each has its header first."""
    return _read(path)[0].get("notes", {})


def halve(source: Path, target: Path) -> None:
    """Copy a file of `save_network` with its numbers as float16 (three digits): half the bytes, for sharing.

    Raises UserError as `read_own`, and for a number that float16 does not hold.
    """
    described, tensors = _read(source)
    halves = {name: tensor.half() for name, tensor in tensors.items()}
    for name, tensor in halves.items():
        if not tensor.isfinite().all():
            raise UserError(f"{source}: layer {name} has a number beyond 65504, the largest of float16; keep the file")
    _write(target, described, halves)


def _write(path: Path, described: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> None:
    plain = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    data = safetensors.torch.save(plain, {METADATA: json.dumps(described, sort_keys=True)})
    with atomic(path) as temporary:
        temporary.write_bytes(data)


def load_network(path: Path, build: type[N]) -> N:
    """The network of a file of ours, in evaluation mode. Raises UserError where it is none, or another network."""
    described, tensors = read_own(path, build.name)
    network = build(described["classes"], described["width"], 0.0, Preprocessing(**described["preprocessing"]))
    load_tensors(network, tensors, path)
    return network.eval()


def read_own(path: Path, network: str) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """What `save_network` wrote: the description and the tensors. Raises UserError as `load_network`."""
    _require(path, f"run `dvc repro finetune_{'vgg' if network == 'vgg_face' else network}`")
    described, tensors = _read(path)
    if described["network"] != network:
        raise UserError(f"{path}: expected a {network} written by this pipeline, found {described['network']}")
    return described, tensors


def _read(path: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    try:
        with safetensors.safe_open(path, "pt") as file:
            described = json.loads((file.metadata() or {}).get(METADATA, "null"))
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (OSError, safetensors.SafetensorError, json.JSONDecodeError) as error:
        raise UserError(f"{path}: not a safetensors file ({error}); make it again") from error
    if not described:
        raise UserError(f"{path}: expected a network written by this pipeline, found no description")
    described["preprocessing"]["mean"] = tuple(described["preprocessing"]["mean"])
    return described, tensors


def _require(path: Path, remedy: str) -> None:
    if not path.is_file():
        raise UserError(f"{path}: no such weights file; {remedy}, or set `weights` to null for a random start")


def _list(names: Mapping[str, object] | set[str]) -> str:
    ordered = sorted(names)
    return ", ".join(ordered[:4]) + (f" and {len(ordered) - 4} more" if len(ordered) > 4 else "") or "nothing"
