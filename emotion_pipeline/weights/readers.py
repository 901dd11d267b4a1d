"""Readers of the layouts in which others publish weights: tensors only, under our layer names and in our shapes.

No reader runs code of a file, and none opens another file that a file refers to.
"""

import pickle
import re
import warnings
from collections.abc import Mapping
from math import isqrt
from pathlib import Path

import h5py
import numpy as np
import torch
from torch import Tensor

from emotion_pipeline.data.artifact import inside
from emotion_pipeline.errors import UserError

VGG_LAYERS = (
    *("conv1_1", "conv1_2", "conv2_1", "conv2_2", "conv3_1", "conv3_2", "conv3_3", "conv4_1", "conv4_2", "conv4_3"),
    *("conv5_1", "conv5_2", "conv5_3", "fc6", "fc7", "fc8"),
)
"""The layers of VGG-Face that have weights, from first to last."""


def read_torch(path: Path) -> dict[str, Tensor]:
    """Return a state dictionary with our layer names, also one under `state_dict`. Raises UserError if it is none."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # on files that then are refused below
            content = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, LookupError, ValueError) as error:
        reason = str(error).partition("\n")[0] or type(error).__name__
        raise UserError(f"{path}: not a PyTorch file of tensors ({reason}); download it again") from error
    state = content.get("state_dict", content) if isinstance(content, Mapping) else content
    if not isinstance(state, Mapping) or not all(isinstance(t, Tensor) for t in state.values()):
        raise UserError(f"{path}: expected a dictionary of tensors, found {type(state).__name__}; download it again")
    return dict(state)


def read_mmaction2(path: Path) -> dict[str, Tensor]:
    """Return mmaction2's C3D under our names: conv1a.conv.weight is conv1.weight. Raises as `read_torch`."""
    return {
        re.sub(r"^conv([12])a\.", r"conv\1.", name.removeprefix("backbone.").replace(".conv.", ".")): tensor
        for name, tensor in read_torch(path).items()
    }


def read_keras(path: Path) -> dict[str, Tensor]:
    """Return Keras weights whose layers have our names (keras-vggface), or are known by their order alone (deepface).

    Their order is that of the names which Keras wrote into attributes. Raises UserError naming file and layer.
    """
    try:
        with h5py.File(path, "r") as file:
            root = file if "layer_names" in file.attrs else inside(file, "model_weights")
            groups = {name: inside(root, name) for name in _names(root, "layer_names")}
            arrays = {k: [_array(g, name) for name in _names(g, "weight_names")] for k, g in groups.items()}
    except (OSError, KeyError, RuntimeError, TypeError, ValueError) as error:
        raise UserError(f"{path}: not a Keras file of weights ({error}); download it again") from error
    except LookupError as error:
        raise UserError(f"{path}: {error}; download it again") from error
    layers = {name: found for name, found in arrays.items() if found}
    if layers.keys().isdisjoint(VGG_LAYERS):
        if len(layers) != len(VGG_LAYERS):
            raise UserError(
                f"{path}: expected {len(VGG_LAYERS)} layers with weights, {VGG_LAYERS[0]} to {VGG_LAYERS[-1]},"
                f" found {len(layers)} ({', '.join(layers) or 'none'}); this is not a whole VGG-Face"
            )
        layers = dict(zip(VGG_LAYERS, layers.values(), strict=True))
    return _in_our_shapes(path, layers)


READERS = {"torch": read_torch, "mmaction2": read_mmaction2, "keras": read_keras}  # by `PublishedFile.layout`


def _names(group: h5py.Group, attribute: str) -> list[str]:
    return [name.decode() if isinstance(name, bytes) else str(name) for name in group.attrs[attribute]]


def _array(group: h5py.Group, name: str) -> np.ndarray:
    data = inside(group, name)
    if data.dtype.kind != "f" or data.nbytes > group.file.id.get_filesize():
        wanted = "floating-point numbers, no more than the file has bytes"
        raise LookupError(f"`{data.name}`: expected {wanted}, found {data.dtype} {data.shape}")
    return np.asarray(data[()], np.float32)


def _in_our_shapes(path: Path, layers: Mapping[str, list[np.ndarray]]) -> dict[str, Tensor]:
    """Return kernels (h, w, in, out) as (out, in, h, w) or (out, in * h * w); fc6, which sees h, w, in, also."""
    tensors: dict[str, Tensor] = {}
    channels = 1
    for name, arrays in layers.items():
        shapes = [array.shape for array in arrays]
        if len(shapes) != 2 or len(shapes[0]) not in (2, 4):
            raise UserError(f"{path}: layer {name}: expected a kernel of 2 or 4 dimensions and a bias, found {shapes}")
        kernel, bias = map(torch.from_numpy, arrays)
        if name == "fc6" and kernel.ndim == 2:  # Keras flattens a map (h, w, in) with its channels last
            side = isqrt(len(kernel) // max(channels, 1))
            if side * side * channels != len(kernel):
                wrong = f"expected a square map of {channels} channels, found {len(kernel)} inputs"
                raise UserError(f"{path}: layer fc6: {wrong}; this is not a whole VGG-Face")
            kernel = kernel.reshape(side, side, channels, -1)
        channels = kernel.shape[-1]
        kernel = kernel.permute(3, 2, 0, 1) if kernel.ndim == 4 else kernel.t()
        tensors |= {f"{name}.weight": kernel.flatten(1) if name.startswith("fc") else kernel, f"{name}.bias": bias}
    return tensors
