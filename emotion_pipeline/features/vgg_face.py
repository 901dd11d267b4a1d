"""The 2D network of section 2.3: VGG-16 as in VGG-Face, and fc6 of every face of a clip."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from emotion_pipeline.data.artifact import Artifact, read_array
from emotion_pipeline.faces.crops import read_faces, with_mirrored
from emotion_pipeline.features.network import FaceNetwork, describe, described_clip, prepared
from emotion_pipeline.features.weights import loaded
from emotion_pipeline.params import ExtractVggParams, RuntimeParams
from emotion_pipeline.weights.registry import VGG_FACE_INPUT

BLOCKS = (("1_1", "1_2"), ("2_1", "2_2"), ("3_1", "3_2", "3_3"), ("4_1", "4_2", "4_3"), ("5_1", "5_2", "5_3"))
"""Names of the 3 x 3 convolutions before each halving (Parkhi et al. 2015, table 3)."""

CONVOLUTIONS = {name: units for block, units in zip(BLOCKS, (64, 128, 256, 512, 512), strict=True) for name in block}
"""Name and units of the convolutions."""


class VGGFace(FaceNetwork):
    """VGG-16, configuration D, as in VGG-Face (Parkhi et al. 2015, table 3); 145,002,878 parameters for 2622 classes.

    Layer names are those of `vgg_face_dag.pth`. Deviations: dropout only before the last layer (section 2.3 of the
    paper), none after fc6; `preprocessing.pixels` other than 224 makes fc6 smaller, for a network of one's own.
    """

    name = "vgg_face"
    descriptor = "fc6"
    standard = VGG_FACE_INPUT
    convolution = nn.Conv2d
    convolutions = CONVOLUTIONS
    memory_format = torch.channels_last

    def forward(
        self, images: Float[Tensor, "b 3 h w"], relu: bool = True
    ) -> tuple[Float[Tensor, "b d"], Float[Tensor, "b k"]]:
        """Return fc6, after its ReLU or before, and the logits."""
        x = images
        for block in BLOCKS:
            for name in block:
                x = F.relu(self.get_submodule(f"conv{name}")(x))
            x = F.max_pool2d(x, 2)
        fc6 = self.fc6(x.flatten(1))
        positive = F.relu(fc6)
        fc7 = F.relu(self.fc7(positive))
        return positive if relu else fc6, self.fc8(self.dropout(fc7))


def vgg_clip(files: Sequence[Path], params: ExtractVggParams, runtime: RuntimeParams) -> Artifact:
    """Return fc6 and scores of a clip's faces: `features` (t, d), `scores` (t, 7), `frame` (t,) as in the track.

    With `params.flipped` the same of the mirrored faces: `flipped/features`, `flipped/scores`.
    `files`: the clip's face sequence, the network. Without a face all have length 0.
    """
    track, weights = files
    network = loaded(weights, VGGFace, runtime.device)
    faces = read_faces(track, network.preprocessing.pixels)
    arrays = {"frame": np.asarray(read_array(track, "frame"), np.int32)}
    for prefix, shown in with_mirrored(faces, params.flipped).items():
        batches = (np.ascontiguousarray(shown[i : i + runtime.batch]) for i in range(0, len(faces), runtime.batch))
        described = describe(network, prepared(network, batches), params.relu)
        arrays[f"{prefix}features"], arrays[f"{prefix}scores"] = described
    return described_clip(network, track, arrays, params.relu)
