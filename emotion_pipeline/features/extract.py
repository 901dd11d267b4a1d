"""The two face networks over every clip: what the stages `extract_vgg` and `extract_c3d` do."""

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from emotion_pipeline.data.manifest import Clip
from emotion_pipeline.features.c3d import c3d_clip
from emotion_pipeline.features.vgg_face import vgg_clip
from emotion_pipeline.params import ExtractC3dParams, ExtractVggParams, RuntimeParams
from emotion_pipeline.run.clipwork import ClipWork


def vgg_work(
    ingest: Path, track: Path, network: Path, out: Path, params: ExtractVggParams, runtime: RuntimeParams
) -> ClipWork:
    """Aligned faces and the fine-tuned network -> features per frame."""
    compute = partial(vgg_clip, params=params, runtime=runtime)
    return ClipWork(compute, ingest, _inputs(track, network), out, params, runtime)


def c3d_work(
    ingest: Path, track: Path, network: Path, out: Path, params: ExtractC3dParams, runtime: RuntimeParams
) -> ClipWork:
    """Aligned faces and the fine-tuned network -> features per window."""
    compute = partial(c3d_clip, params=params, runtime=runtime)
    return ClipWork(compute, ingest, _inputs(track, network), out, params, runtime)


def _inputs(track: Path, network: Path) -> Callable[[Clip], Sequence[Path]]:
    return lambda clip: [track / f"{clip.clip_id}.h5", network]
