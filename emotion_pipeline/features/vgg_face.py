"""The 2D network of section 2.3: VGG-16 as in VGG-Face, and fc6 of every face of a clip."""

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from emotion_pipeline.data.artifact import Artifact, read_array, read_attributes
from emotion_pipeline.faces.crops import read_faces, with_mirrored
from emotion_pipeline.features.network import FaceNetwork, describe, prepared, start_at_random
from emotion_pipeline.features.weights import load_network
from emotion_pipeline.params import ExtractVggParams, RuntimeParams
from emotion_pipeline.training.device import device_of
from emotion_pipeline.weights.registry import VGG_FACE_INPUT, Preprocessing

BLOCKS = ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3))
"""Units and number of 3 x 3 convolutions before each halving (Parkhi et al. 2015, table 3)."""


class VGGFace(FaceNetwork):
    """VGG-16, configuration D, as in VGG-Face (Parkhi et al. 2015, table 3); 145,002,878 parameters for 2622 classes.

    Layer names are those of `vgg_face_dag.pth`. Deviations: dropout only before the last layer (section 2.3 of the
    paper), none after fc6; `preprocessing.pixels` other than 224 makes fc6 smaller, for a network of one's own.
    """

    name = "vgg_face"
    descriptor = "fc6"
    standard = VGG_FACE_INPUT

    def __init__(
        self,
        classes: int,
        width: float = 1.0,
        dropout: float = 0.0,
        preprocessing: Preprocessing = VGG_FACE_INPUT,
    ):
        super().__init__(classes, width, dropout, preprocessing)
        inputs = 3
        for block, (count, convolutions) in enumerate(BLOCKS, start=1):
            for index in range(1, convolutions + 1):
                self.add_module(f"conv{block}_{index}", nn.Conv2d(inputs, self.units(count), 3, padding=1))
                inputs = self.units(count)
        side = preprocessing.pixels // 2 ** len(BLOCKS)
        self.fc6 = nn.Linear(inputs * side * side, self.units(4096))
        self.fc7 = nn.Linear(self.units(4096), self.units(4096))
        self.fc8 = nn.Linear(self.units(4096), classes)
        start_at_random(self)
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def forward(
        self, images: Float[Tensor, "b 3 h w"], relu: bool = True
    ) -> tuple[Float[Tensor, "b d"], Float[Tensor, "b k"]]:
        """fc6, after its rectifier or before, and the logits."""
        x = images
        for block, (_, convolutions) in enumerate(BLOCKS, start=1):
            for index in range(1, convolutions + 1):
                x = F.relu(self.get_submodule(f"conv{block}_{index}")(x))
            x = F.max_pool2d(x, 2)
        fc6 = self.fc6(x.flatten(1))
        positive = F.relu(fc6)
        fc7 = F.relu(self.fc7(positive))
        return positive if relu else fc6, self.fc8(self.dropout(fc7))


def vgg_clip(files: Sequence[Path], params: ExtractVggParams, runtime: RuntimeParams) -> Artifact:
    """fc6 and scores of every face of a clip: `features` (t, d), `scores` (t, 7), `frame` (t,) as in the track.

    With `params.flipped` the same of the mirrored faces: `flipped/features`, `flipped/scores`.
    `files`: the clip's face sequence, the network. Without a face all have length 0.
    """
    track, weights = files
    network = _loaded(weights, weights.stat().st_mtime_ns, runtime.device)
    faces = read_faces(track, network.preprocessing.pixels)
    arrays = {"frame": np.asarray(read_array(track, "frame"), np.int32)}
    for prefix, shown in with_mirrored(faces, params.flipped).items():
        batches = (np.ascontiguousarray(shown[i : i + runtime.batch]) for i in range(0, len(faces), runtime.batch))
        described = describe(network, prepared(network, batches), params.relu)
        arrays[f"{prefix}features"], arrays[f"{prefix}scores"] = described
    return Artifact(
        arrays,
        {"layer": network.descriptor, "relu": params.relu, "width": network.width},
        absent=str(read_attributes(track).get("absent", "")),
    )


@lru_cache(maxsize=1)
def _loaded(path: Path, _changed: int, device: str) -> VGGFace:
    return load_network(path, VGGFace).to(device_of(device))
