"""CenterFace (Xu et al. 2019, arXiv:1911.03599): a small network that finds faces of any size in one pass."""

from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from pathlib import Path

import cv2
import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from emotion_pipeline.data.models import read_model
from emotion_pipeline.faces.frames import Boxes, Frame, boxes_of, groups, padded
from emotion_pipeline.params import RuntimeParams
from emotion_pipeline.training.device import device_of

STRIDE = 4  # pixels of the frame for each cell of the network's output, along each side
MULTIPLE = 32  # the sides of the network's input must be multiples of this
OVERLAP = 0.3  # of two boxes that overlap by more (intersection over union), the one of lower score is dropped
STAGES = (
    ((16, 1, 1), (24, 2, 6), (24, 1, 6)),
    ((32, 2, 6), (32, 1, 6), (32, 1, 6)),
    ((64, 2, 6), *[(64, 1, 6)] * 3, *[(96, 1, 6)] * 3),
    ((160, 2, 6), (160, 1, 6), (160, 1, 6), (320, 1, 6)),
)
"""Channels, stride and expansion of the backbone's blocks (MobileNetV2), by the stride of a stage: 4, 8, 16, 32."""

NECK = 24  # channels of the feature pyramid


class Block(nn.Sequential):
    """Inverted residual (Sandler et al. 2018, arXiv:1801.04381): widen, convolve each channel by itself, narrow."""

    def __init__(self, inputs: int, outputs: int, stride: int, expansion: int):
        width = inputs * expansion
        widen = [nn.Conv2d(inputs, width, 1), nn.ReLU()] if expansion > 1 else []
        depthwise = nn.Conv2d(width, width, 3, stride, padding=1, groups=width)
        super().__init__(*widen, depthwise, nn.ReLU(), nn.Conv2d(width, outputs, 1))
        self.residual = stride == 1 and inputs == outputs

    def forward(self, x: Float[Tensor, "b _ h w"]) -> Float[Tensor, "b _ y x"]:
        """Return the block's map, which a stride of 2 halves."""
        return x + super().forward(x) if self.residual else super().forward(x)


class Level(nn.Module):
    """One level of the feature pyramid (Lin et al. 2017): the level above, enlarged, and the backbone's map here."""

    def __init__(self, channels: int):
        super().__init__()
        enlarge = nn.ConvTranspose2d(NECK, NECK, 2, 2, bias=False)
        self.above = nn.Sequential(enlarge, nn.BatchNorm2d(NECK, eps=1e-3), nn.ReLU())
        self.here = nn.Sequential(nn.Conv2d(channels, NECK, 1), nn.ReLU())

    def forward(self, above: Float[Tensor, "b 24 h w"], here: Float[Tensor, "b _ y x"]) -> Float[Tensor, "b 24 y x"]:
        """Return the sum of both."""
        return self.above(above) + self.here(here)


class CenterFace(nn.Module):
    """MobileNetV2, a feature pyramid, and three heads.

    Parameters are in the order of the published graph, which has the backbone's batch normalisations in its
    convolutions. The graph's fourth head, five landmarks, is left out.
    """

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 32, 3, 2, padding=1), nn.ReLU())
        self.stages, channels = nn.ModuleList(), 32
        for stage in STAGES:
            blocks = nn.Sequential()
            for outputs, stride, expansion in stage:
                blocks.append(Block(channels, outputs, stride, expansion))
                channels = outputs
            self.stages.append(blocks)
        self.top = nn.Sequential(nn.Conv2d(channels, NECK, 1), nn.ReLU())
        self.levels = nn.ModuleList(Level(stage[-1][0]) for stage in reversed(STAGES[:-1]))
        self.shared = nn.Sequential(nn.Conv2d(NECK, NECK, 3, padding=1), nn.ReLU())
        self.heads = nn.ModuleList(nn.Conv2d(NECK, outputs, 1) for outputs in (1, 2, 2))

    def forward(self, images: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b 5 y x"]:
        """Return how likely a face's centre lies in each cell, the log of its height and width, and its offset.

        `images`: RGB from 0 to 255. Cells of 4 x 4 pixels; height, width and offset (y, x) in cells.
        """
        x, maps = self.stem(images), list[Tensor]()
        for stage in self.stages:
            x = stage(x)
            maps.append(x)
        x = self.top(maps.pop())
        for level in self.levels:
            x = level(x, maps.pop())
        x = self.shared(x)
        heat, extent, offset = (head(x) for head in self.heads)
        return torch.cat([torch.sigmoid(heat), extent, offset], dim=1)


def centerface(
    frames: Iterable[Frame], files: Sequence[Path], threshold: float, runtime: RuntimeParams
) -> Iterator[Boxes]:
    """Yield the boxes of each frame. On the CPU one at a time, which is faster there than a batch."""
    device = device_of(runtime.device)
    network = _loaded(files[0], str(device))
    for group in groups(frames, 1 if device.type == "cpu" else runtime.batch):
        height, width = (side + -side % MULTIPLE for side in group[0].shape[:2])
        stacked = np.stack([padded(frame, height, width) for frame in group])
        images = torch.from_numpy(stacked).to(device).permute(0, 3, 1, 2).float()
        with torch.inference_mode():
            outputs = network(images).cpu().numpy()
        for output in outputs:
            yield _decoded(output, threshold)


def _decoded(output: Float[np.ndarray, "5 y x"], threshold: float) -> Boxes:
    """Return the boxes around the cells whose value reaches the threshold."""
    y, x = np.nonzero(output[0] >= threshold)
    (score,), extent, offset = np.split(output[:, y, x], [1, 3])
    height, width = STRIDE * np.exp(extent)
    centre_y, centre_x = STRIDE * (np.stack([y, x]) + 0.5 + offset)
    left, top = centre_x - width / 2, centre_y - height / 2
    kept = cv2.dnn.NMSBoxes(np.stack([left, top, width, height], axis=1).tolist(), score.tolist(), threshold, OVERLAP)
    rows = np.stack([left, top, left + width, top + height, score], axis=1)
    return boxes_of(rows[np.asarray(kept, int).ravel()])


@lru_cache(maxsize=1)
def _loaded(file: Path, device: str) -> CenterFace:
    tensors, _ = read_model(file)
    network = CenterFace()
    network.load_state_dict({name: torch.from_numpy(tensor) for name, tensor in tensors.items()})
    return network.to(device, memory_format=torch.channels_last).eval()  # type: ignore[call-overload]
