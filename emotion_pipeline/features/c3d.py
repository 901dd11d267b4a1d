"""The 3D network of section 2.4: C3D as in Sports-1M, and its second fully connected layer for windows of 16 faces."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int, UInt8
from torch import Tensor, nn

from emotion_pipeline.data.artifact import Artifact
from emotion_pipeline.faces.crops import read_faces, with_mirrored
from emotion_pipeline.features.network import FaceNetwork, describe, described_clip, prepare
from emotion_pipeline.features.weights import loaded
from emotion_pipeline.params import ExtractC3dParams, RuntimeParams
from emotion_pipeline.weights.registry import C3D_INPUT

WINDOW = 16
"""Frames of a window."""


class C3D(FaceNetwork):
    """C3D (Tran et al. 2015, arXiv:1412.0767, figure 3) as trained on Sports-1M; 79,991,015 parameters for 487 classes.

    Layer names are those of `c3d.pickle`. The last pooling rounds up, as Caffe's does: its windows over the 7 x 7 map
    begin at 0, 2, 4, 6; with `preprocessing.pool5` "both_sides", as in PyTorch ports, at -1, 1, 3, 5.
    Deviation: dropout only before the last layer, none after fc6.
    """

    name = "c3d"
    descriptor = "fc7"
    standard = C3D_INPUT
    convolution = nn.Conv3d
    convolutions: ClassVar = {"1": 64, "2": 128, "3a": 256, "3b": 256, "4a": 512, "4b": 512, "5a": 512, "5b": 512}
    memory_format = torch.channels_last_3d

    def pooled(self, x: Tensor, name: str) -> Tensor:
        """Return the map, halved after the last convolution of a block: in time, too, but for the first."""
        if name == "5b":
            both_sides = self.preprocessing.pool5 == "both_sides"
            return F.max_pool3d(x, 2, padding=(0, 1, 1) if both_sides else 0, ceil_mode=True)
        if name.endswith("a"):
            return x
        return F.max_pool3d(x, (1, 2, 2) if name == "1" else 2)


def window_starts(frames: int, overlap: int) -> Int[np.ndarray, " w"]:
    """Return the first frames of windows of 16: 0, step, 2 step ... inside the sequence, with step = 16 - overlap."""
    return np.arange(0, frames, WINDOW - overlap)


def window_frames(frames: int, starts: Int[np.ndarray, " w"]) -> Int[np.ndarray, "w 16"]:
    """Return frame numbers of windows. Beyond its end the sequence goes on from its beginning (padded by itself)."""
    return (starts[:, None] + np.arange(WINDOW)) % max(frames, 1)


def padded_frames(frames: int, starts: Int[np.ndarray, " w"]) -> Int[np.ndarray, " w"]:
    """Return how many of each window's 16 frames lie beyond the end of the sequence."""
    return np.maximum(starts + WINDOW - frames, 0)


def c3d_clip(files: Sequence[Path], params: ExtractC3dParams, runtime: RuntimeParams) -> Artifact:
    """Return fc7 and scores of every window of a clip, one group per overlap k.

    `overlap_<k>/features` (w, d), `/scores` (w, 7), `/start` (w,) as positions in the face sequence, `/padded` (w,).
    With `params.flipped` also `overlap_<k>/flipped/features` and `/scores`, of the mirrored faces. A window of several
    overlaps is computed once. `files`: the clip's face sequence, the network. Without a face all have length 0.
    """
    track, weights = files
    network = loaded(weights, C3D, runtime.device)
    faces = read_faces(track, network.preprocessing.pixels)
    starts = {k: window_starts(len(faces), k) for k in params.overlaps}
    every = np.unique(np.concatenate([*starts.values(), np.zeros(0, int)]))
    arrays = {f"overlap_{k}/start": own.astype(np.int32) for k, own in starts.items()}
    arrays |= {f"overlap_{k}/padded": padded_frames(len(faces), own).astype(np.int32) for k, own in starts.items()}
    for prefix, shown in with_mirrored(faces, params.flipped).items():
        windows = prepared_windows(network, shown, window_frames(len(faces), every), runtime.batch)
        features, scores = describe(network, windows, params.relu)
        for k, own in starts.items():
            rows = np.searchsorted(every, own)
            arrays[f"overlap_{k}/{prefix}features"] = features[rows]
            arrays[f"overlap_{k}/{prefix}scores"] = scores[rows]
    return described_clip(network, track, arrays, params.relu)


def prepared_windows(
    network: FaceNetwork, faces: UInt8[np.ndarray, "t p p 3"], windows: Int[np.ndarray, "w 16"], batch: int
) -> Iterator[Float[Tensor, "b 3 16 p p"]]:
    """Yield the network's input for windows of frame numbers, `batch` at a time; each frame is converted once."""
    device = next(network.parameters()).device
    last = np.zeros(len(faces), int)  # window that needs a frame last
    last[windows] = np.arange(len(windows))[:, None]
    ready: dict[int, Tensor] = {}
    for first in range(0, len(windows), batch):
        some = windows[first : first + batch]
        new = np.array([frame for frame in np.unique(some) if frame not in ready], int)
        ready |= zip(new.tolist(), prepare(torch.from_numpy(faces[new]).to(device), network.preprocessing), strict=True)
        inputs = torch.stack([torch.stack([ready[frame] for frame in window], dim=1) for window in some.tolist()])
        yield inputs.contiguous(memory_format=torch.channels_last_3d)
        ready = {frame: image for frame, image in ready.items() if last[frame] >= first + batch}
