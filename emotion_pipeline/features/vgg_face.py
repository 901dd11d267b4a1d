"""The 2D network of section 2.3: VGG-16 as in VGG-Face, and fc6 of every face of a clip."""

from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from emotion_pipeline.data.artifact import Artifact, read_array
from emotion_pipeline.faces.crops import read_faces, with_mirrored
from emotion_pipeline.features.network import FaceNetwork, describe, described_clip, prepared
from emotion_pipeline.features.weights import loaded
from emotion_pipeline.params import ExtractVggParams, RuntimeParams
from emotion_pipeline.weights.registry import VGG_FACE_INPUT


class VGGFace(FaceNetwork):
    """VGG-16, configuration D, as in VGG-Face (Parkhi et al. 2015, table 3); 145,002,878 parameters for 2622 classes.

    Layer names are those of `vgg_face_dag.pth`. Deviations: dropout only before the last layer (section 2.3 of the
    paper), none after fc6; `preprocessing.pixels` other than 224 makes fc6 smaller, for a network of one's own.
    """

    name = "vgg_face"
    descriptor = "fc6"
    standard = VGG_FACE_INPUT
    convolution = nn.Conv2d
    convolutions: ClassVar = {
        **{"1_1": 64, "1_2": 64, "2_1": 128, "2_2": 128, "3_1": 256, "3_2": 256, "3_3": 256},
        **{"4_1": 512, "4_2": 512, "4_3": 512, "5_1": 512, "5_2": 512, "5_3": 512},
    }
    memory_format = torch.channels_last

    def pooled(self, x: Tensor, name: str) -> Tensor:
        """Return the map, halved after the last convolution of a block."""
        return F.max_pool2d(x, 2) if name in ("1_2", "2_2", "3_3", "4_3", "5_3") else x


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
