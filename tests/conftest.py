"""Generated clips and parameters: small enough that a test takes seconds on a CPU."""

import os
import shutil
from collections.abc import Callable, Iterable, Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from xdist.remote import Producer
from xdist.scheduler import LoadScopeScheduling

from emotion_pipeline.params import Params, RuntimeParams, load_params

REPOSITORY = Path(__file__).parents[1]
GOLDEN = REPOSITORY / "tests/golden"
SHARED = REPOSITORY.parent / "shared"

if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # two processes, each with a thread per core, wait for each other

WITH_FIRST = (
    "tests/audit/test_audit.py",
    "tests/test_pipeline.py",
    "tests/attacks/test_attacks.py::test_results_are_shared",
)
"""Tests that share the clone in which everything has run: in two processes it would be made twice."""


class Schedule(LoadScopeScheduling):
    """What one process of `pytest --numprocesses` runs: the tests of a file, all with `first`, each other attack."""

    def _split_scope(self, nodeid: str) -> str:
        if nodeid.startswith(WITH_FIRST):
            return "first"
        return nodeid if nodeid.startswith("tests/attacks") else nodeid.split("::")[0]


def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> Schedule:
    return Schedule(config, log)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what needs minutes; skip what is marked `shared` where the real clips and models are not here."""
    for item in items:
        if "first" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.slow)
    if not SHARED.is_dir():
        for item in items:
            if item.get_closest_marker("shared"):
                item.add_marker(pytest.mark.skip(reason=f"the real clips and models are not here ({SHARED})"))


@pytest.fixture(autouse=True)
def _own_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No test reads or writes the developer's own results."""
    monkeypatch.setenv("EMOTION_PIPELINE_STORE", str(tmp_path / "store"))
    for variable in ("DVC_ROOT", "DVC_STAGE"):
        monkeypatch.delenv(variable, raising=False)


@pytest.fixture(scope="session")
def params() -> Params:
    return load_params(REPOSITORY / "params.yaml")


@pytest.fixture
def runtime(params: Params) -> RuntimeParams:
    return params.runtime.model_copy(update={"workers": 2, "max_failed": 1.0})


def write_video(path: Path, pictures: np.ndarray, sound: np.ndarray | None = None, fps: int = 25) -> Path:
    """Pictures (t, h, w, 3) uint8 and 16 kHz mono sound (n,) in [-1, 1] as an MPEG-4 file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as container:
        video = container.add_stream("mpeg4", rate=fps)
        video.height, video.width = pictures.shape[1:3]
        video.pix_fmt = "yuv420p"
        video.bit_rate = 4_000_000
        audio = container.add_stream("aac", rate=16000, layout="mono") if sound is not None else None
        for picture in pictures:
            container.mux(video.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(video.encode(None))
        if audio is not None:
            frame = av.AudioFrame.from_ndarray(sound.astype(np.float32)[None], format="fltp", layout="mono")
            frame.sample_rate = 16000
            container.mux(audio.encode(frame))
            container.mux(audio.encode(None))
    return path


def write_clip(
    path: Path,
    video_codec: str,
    audio_codec: str,
    shown: Iterable[int],
    options: dict[str, str] | None = None,
    tag: str | None = None,
) -> Path:
    """Noise of 96 x 64 at the given 1/25 s, with a tone beside it from 0 to the last; `tag`: the name of the codec."""
    shown, rng = list(shown), np.random.default_rng(0)
    rate = 44100 if audio_codec in {"libmp3lame", "mp2"} else 48000
    with av.open(str(path), "w", options=options or {}) as container:
        video = container.add_stream(video_codec, rate=25)
        video.width, video.height, video.pix_fmt = 96, 64, "yuv420p"
        video.codec_context.time_base = Fraction(1, 25)
        if tag:
            video.codec_context.codec_tag = tag
        audio = container.add_stream(audio_codec, rate=rate, layout="mono")
        for k in range(shown[-1] + 1):
            if k in shown:
                noise = rng.integers(0, 255, (8, 12, 3), np.uint8).repeat(8, 0).repeat(8, 1)
                picture = av.VideoFrame.from_ndarray(noise, format="rgb24")
                picture.pts, picture.time_base = k, Fraction(1, 25)
                container.mux(video.encode(picture))
            tone = (9000 * np.sin(np.arange(rate // 25) / 9)).astype(np.int16)
            piece = av.AudioFrame.from_ndarray(tone[None], format="s16", layout="mono")
            piece.sample_rate, piece.pts, piece.time_base = rate, k * (rate // 25), Fraction(1, rate)
            container.mux(audio.encode(piece))
        container.mux(video.encode(None))
        container.mux(audio.encode(None))
    return path


def write_late(path: Path, ticks: Sequence[int], sound_from: float) -> Path:
    """Pictures at the given 1/1000 s, with sound that begins at `sound_from` seconds."""
    with av.open(str(path), "w") as container:
        video = container.add_stream("mpeg4", rate=25)
        video.width, video.height, video.pix_fmt = 64, 48, "yuv420p"
        video.codec_context.time_base = Fraction(1, 1000)
        audio = container.add_stream("mp2", rate=16000, layout="mono")
        for tick in ticks:
            picture = av.VideoFrame.from_ndarray(np.full((48, 64, 3), 99, np.uint8), format="rgb24")
            picture.pts, picture.time_base = tick, Fraction(1, 1000)
            container.mux(video.encode(picture))
        container.mux(video.encode(None))
        tone = av.AudioFrame.from_ndarray(
            (9000 * np.sin(np.arange(8000) / 5)).astype(np.int16)[None], format="s16", layout="mono"
        )
        tone.sample_rate, tone.pts, tone.time_base = 16000, round(16000 * sound_from), Fraction(1, 16000)
        container.mux(audio.encode(tone))
        container.mux(audio.encode(None))
    return path


@pytest.fixture
def make_video() -> Callable[..., Path]:
    return write_video


@pytest.fixture
def grey_steps() -> np.ndarray:
    """Twelve pictures, each a little lighter than the one before: 10, 30, 50 ..."""
    return np.stack([np.full((48, 64, 3), 10 + 20 * k, np.uint8) for k in range(12)])


@pytest.fixture(scope="session")
def first(tmp_path_factory):
    """A clone in which everything has run once, on a copy of its sample data set that may be added to."""
    from tests.clone import new_clone

    clone = new_clone(tmp_path_factory.mktemp("first") / "clone")
    clone.limit_s = 1700  # all stages, beside other tests, on slow cores
    clone.run("dvc", "repro", "sample")
    shutil.copytree(clone.folder / "data/raw/sample", clone.folder / "data/raw/clips")
    clone.first_output = clone.repro()
    clone.run("dvc", "remote", "add", "-q", "-d", "origin", str(clone.folder.parent / "remote"))
    clone.run("dvc", "push", "-q")
    clone.run("git", "add", "-A")
    clone.run("git", "commit", "-qm", "First run")
    return clone
