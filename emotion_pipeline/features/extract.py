"""A face network over every clip: what the stages `extract_vgg` and `extract_c3d` do."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

from emotion_pipeline.data.artifact import Artifact
from emotion_pipeline.params import ExtractC3dParams, ExtractVggParams, RuntimeParams
from emotion_pipeline.run.perclip import ClipWork


def per_clip(
    describe: Callable[..., Artifact],
    ingest: Path,
    track: Path,
    network: Path,
    out: Path,
    params: ExtractVggParams | ExtractC3dParams,
    runtime: RuntimeParams,
) -> ClipWork:
    """Return the work of `describe` (`vgg_clip` or `c3d_clip`) on aligned faces with the fine-tuned network."""
    compute = partial(describe, params=params, runtime=runtime)
    return ClipWork(compute, ingest, lambda clip: [track / f"{clip.clip_id}.h5", network], out, params, runtime)
