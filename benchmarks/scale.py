"""`python -m benchmarks.scale FOLDER`: what 1,800 clips cost when nothing, or one clip, has changed.

The real pipeline in a clone in FOLDER, its per-clip stages with their real code around a function that writes random
numbers of the real sizes instead of running networks; the other stages are replaced by ones with the same inputs and
outputs that write a few bytes. Prints a table; `--share` fits the sizes to the disk: six times
the results must have room.
"""

import argparse
import resource
import subprocess
import time
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import yaml

from emotion_pipeline.data.artifact import Artifact
from emotion_pipeline.run.perclip import ClipWork
from tests.attacks.remotes import size_of
from tests.clone import PER_CLIP, Clone, new_clone

FRAMES, FACE_BYTES, VIDEO_BYTES = 65, 22_000, 400_000
"""Of an AFEW clip: faces in its sequence; a face as JPEG, quality 95, 4:4:4; the clip's file."""

WINDOWS = {0: 4, 8: 7, 15: 50}
"""Windows of 16 frames by overlap."""

SHAPES: dict[str, dict[str, tuple[int, ...]]] = {
    "detect": {"boxes": (FRAMES, 5), "time": (FRAMES,)},
    "align": {"landmarks": (FRAMES, 68, 2)},
    "track": {"faces": (FRAMES * FACE_BYTES // 4,), "landmarks": (FRAMES, 68, 2), "boxes": (FRAMES, 5)},
    "quality": {"contact_sheet": (30_000,)},
    "extract_vgg": {"features": (FRAMES, 4096), "scores": (FRAMES, 7)},
    "extract_c3d/weighted": {f"overlap_{k}/features": (w, 4096) for k, w in WINDOWS.items()},
    "extract_c3d/central": {"overlap_0/features": (WINDOWS[0], 4096)},
    "extract_c3d/random": {"overlap_0/features": (WINDOWS[0], 4096)},
    "extract_audio": {"features": (1, 1582)},
}
"""What each stage writes of a clip, float32."""


def random_numbers(files: Sequence[Path], shapes: dict[str, tuple[int, ...]]) -> Artifact:
    """Incompressible numbers that are others where the bytes of an input are."""
    rng = np.random.default_rng([zlib.crc32(_end(file)) for file in files])
    return Artifact({name: rng.random(shape, np.float32) for name, shape in shapes.items()})


def _end(file: Path) -> bytes:
    """The last bytes: enough to tell one clip's file from another's, and no cost for networks of 100 MB."""
    with open(file, "rb") as opened:
        opened.seek(-min(4096, file.stat().st_size), 2)
        return opened.read()


def without_networks(work: Callable[..., ClipWork]) -> Callable[..., ClipWork]:
    """A per-clip stage's `work` that does everything but compute."""

    def stub(*arguments: object) -> ClipWork:
        own = work(*arguments)
        share = float(Path("share").read_text())
        shapes = {name: (max(round(share * n), 1), *more) for name, (n, *more) in SHAPES[own.stage].items()}
        return replace(own, compute=partial(random_numbers, shapes=shapes))

    return stub


def small_files(outs: Sequence[str]) -> str:
    """A command for a stage that trains: the same few bytes at each run, as where a clip of test changes."""
    names = ("failures.csv", "history.csv", "accuracy.csv", "network.safetensors", "scores.h5")
    files = [file for out in outs for file in ([out] if Path(out).suffix else [f"{out}/{name}" for name in names])]
    folders = sorted({str(Path(file).parent) for file in files})
    return f"mkdir -p {' '.join(folders)} && for file in {' '.join(files)}; do echo '{{}}' > $file; done"


def prepare(folder: Path, clips: int, share: float, links: str) -> Clone:
    """The clone: clips that are one generated video with different bytes at their end, stages without networks."""
    clone = new_clone(folder / "a")
    clone.limit_s = 7200
    clone.run("dvc", "repro", "-q", "sample")
    video = next((clone.folder / "data/raw/sample/clips").glob("test_*.mp4")).read_bytes()
    raw, rng = clone.folder / "data/raw/clips", np.random.default_rng(1)
    raw.mkdir()
    for i in range(clips):
        write_video(raw / f"clip_{i:04d}.mp4", video, rng, share)
    rows = [f"clip_{i:04d}.mp4,{('train', 'val', 'test')[i % 3]},happy,s{i % 100}" for i in range(clips)]
    (raw / "clips.csv").write_text("\n".join(["path,split,label,subject", *rows]) + "\n")
    (clone.folder / "share").write_text(str(share))
    clone.edit("ingest", "min_clips", value=clips)
    for script in {stage.split("_c3d_")[0] + ("_c3d" if "_c3d_" in stage else "") for stage in PER_CLIP}:
        file = clone.folder / "stages" / f"{script}.py"
        head, main, tail = file.read_text().partition('if __name__ == "__main__":')
        own = "from benchmarks.scale import without_networks\n\nwork = without_networks(work)\n\n"
        file.write_text(head + own + main + tail)
    pipeline = yaml.safe_load((clone.folder / "dvc.yaml").read_text())
    for name, stage in pipeline["stages"].items():
        body = stage.get("do", stage)
        if name.split("@")[0] not in {"sample", "ingest", *(s.split("_c3d_")[0] for s in PER_CLIP), "extract_c3d"}:
            metrics = [path for entry in body.get("metrics", []) for path in entry]
            body["cmd"] = small_files([*body["outs"], *metrics])
    (clone.folder / "dvc.yaml").write_text(yaml.safe_dump(pipeline, sort_keys=False))
    if links:
        clone.run("dvc", "config", "cache.type", links)
    clone.run("dvc", "add", "-q", "data/raw/clips")
    clone.run("dvc", "remote", "add", "-q", "-d", "origin", str(folder / "remote"))
    return clone


def write_video(path: Path, video: bytes, rng: np.random.Generator, share: float) -> None:
    """The video with a last MP4 box of random bytes, so that the file has the size of an AFEW clip."""
    size = max(round(share * VIDEO_BYTES) - len(video), 64)
    path.write_bytes(video + size.to_bytes(4, "big") + b"free" + rng.bytes(size - 8))


def cost(clone: Clone, *command: str, times: int = 1) -> str:
    """Seconds by the clock and of the processors: of several times the one that took the processors least."""
    taken = []
    for _ in range(times):
        start, used = time.perf_counter(), processor_seconds()
        clone.run(*command)
        taken.append((processor_seconds() - used, time.perf_counter() - start))
    used, by_clock = min(taken)
    return f"{by_clock:.1f} | {used:.1f} |"


def processor_seconds() -> float:
    """Of all processes that have ended below this one."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def changed_run(clone: Clone) -> tuple[str, str]:
    """`dvc repro`: its cost, and seconds by the clock of each stage, with DVC's hashing and copying of its results."""
    start, used = time.perf_counter(), processor_seconds()
    first, now, taken = start, "before the first", {}
    command = ["dvc", "repro"]
    with subprocess.Popen(command, cwd=clone.folder, env=clone.environment, stdout=-1, stderr=-2, text=True) as run:
        for line in run.stdout or ():
            if line.startswith(("Running stage", "Stage ", "Verifying data sources")):
                taken[now] = taken.get(now, 0) + time.perf_counter() - start
                start, now = time.perf_counter(), line.split("'")[1]
    assert run.returncode == 0
    end = time.perf_counter()
    taken[now] = taken.get(now, 0) + end - start
    longest = sorted(taken.items(), key=lambda item: -item[1])[:12]
    parts = ", ".join(f"{name} {seconds:.1f}" for name, seconds in longest)
    return f"{end - first:.1f} | {processor_seconds() - used:.1f} |", parts


def measure(folder: Path, clips: int, share: float, links: str) -> Iterator[str]:
    """Rows of the table."""
    a = prepare(folder, clips, share, links)
    yield f"first run | {cost(a, 'dvc', 'repro')} |"
    a.run("git", "add", "-A")
    a.run("git", "commit", "-qm", "First run")
    data, remote = a.folder / "data", folder / "remote"
    yield f"results of all clips | | | {sum(size_of(data / stage) for stage in PER_CLIP) / 1e9:.2f} GB"
    yield f"`dvc repro`, nothing to do | {cost(a, 'dvc', 'repro', times=3)}"
    yield f"`dvc status`, nothing to do | {cost(a, 'dvc', 'status', times=3)}"
    yield f"push of everything | {cost(a, 'dvc', 'push', '-q')} {size_of(remote) / 1e9:.2f} GB"
    yield f"push of nothing | {cost(a, 'dvc', 'push', '-q')}"
    b = Clone(folder / "b", limit_s=7200)
    a.run("git", "clone", "-q", ".", str(b.folder))
    yield f"pull of everything | {cost(b, 'dvc', 'pull', '-q')}"
    yield f"pull of nothing | {cost(b, 'dvc', 'pull', '-q')}"
    for attempt in range(2):
        name = f"clip_{7 + attempt:04d}"
        clip = data / "raw/clips" / f"{name}.mp4"
        video = clip.read_bytes()
        clip.unlink()  # it may be a link to DVC's cache
        clip.write_bytes(video[:-8] + f"change {attempt}".encode())
        taken, parts = changed_run(a)
        yield f"`dvc repro`, one changed clip | {taken} {parts}"
        own = sum((data / stage / f"{name}.h5").stat().st_size for stage in PER_CLIP) + clip.stat().st_size
        before, held = size_of(remote), size_of(b.folder / ".dvc/cache")
        taken = cost(a, "dvc", "push", "-q")
        sent = (size_of(remote) - before) / 1e6
        yield f"its push | {taken} {sent:.2f} MB, of which its own files {own / 1e6:.2f} MB"
        a.run("git", "commit", "-qam", "One clip")
        b.run("git", "pull", "-q")
        taken = cost(b, "dvc", "pull", "-q")
        yield f"its pull | {taken} {(size_of(b.folder / '.dvc/cache') - held) / 1e6:.2f} MB"
    yield f"`dvc repro` where it was only pulled | {cost(b, 'dvc', 'repro')}"


def main() -> None:
    """From the command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.scale", description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--clips", type=int, default=1800)
    parser.add_argument("--share", type=float, default=1.0, help="size of all results, as a share of the real one")
    parser.add_argument("--cache-type", default="", help="DVC's cache.type; default: DVC's own")
    arguments = parser.parse_args()
    print("| | s by the clock | s of the processors | |\n|---|--:|--:|---|")
    for row in measure(arguments.folder.absolute(), arguments.clips, arguments.share, arguments.cache_type):
        print(f"| {row} |", flush=True)


if __name__ == "__main__":
    main()
