"""Whether the memory of detect, align and track grows with the length of a video.

    python -m benchmarks.faces_memory VIDEO [minutes]

Repeats the pictures of VIDEO to one of 10 seconds and one of 20 minutes, and runs each stage on each in a process of
its own. Prints the most memory a stage held (resident set), for both, and their ratio. The goal is at most 1.2.
Linux only.
"""

import multiprocessing
import sys
import tempfile
from itertools import cycle, islice
from pathlib import Path

import av

from emotion_pipeline.data.artifact import Artifact, read_array, write_artifact
from emotion_pipeline.data.media import frames
from emotion_pipeline.params import Params, load_params
from emotion_pipeline.weights.fetch import files_of

FPS, SHORT, MOST_PICTURES = 25, 10, 500


def repeat(video: Path, seconds: int, target: Path) -> Path:
    """The first pictures of `video`, forwards, again and again."""
    pictures = list(islice(frames(video), MOST_PICTURES))
    with av.open(str(target), "w") as container:
        stream = container.add_stream("mpeg4", rate=FPS)
        stream.height, stream.width = pictures[0].shape[:2]
        stream.pix_fmt, stream.bit_rate = "yuv420p", 2_000_000
        for picture in islice(cycle(pictures), seconds * FPS):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode(None))
    return target


def artifact(stage: str, folder: Path, video: Path, params: Params) -> Artifact:
    """What a stage makes of a video. Imports what that stage imports, and no more."""
    boxes, landmarks = folder / "detect.h5", folder / "align.h5"
    if stage == "detect":
        from emotion_pipeline.faces.detect import detect_clip

        files = files_of(params.detect.detector)
        return detect_clip([video, *files], params.detect, params.runtime)
    if stage == "align":
        from emotion_pipeline.faces.landmarks import align_clip

        files = files_of(params.align.predictor)
        return align_clip([video, boxes, *files], params.align, params.runtime)
    from emotion_pipeline.faces.track import track_clip

    return track_clip([video, boxes, landmarks], params.track)


def run(stage: str, folder: Path, video: Path) -> float:
    """Run a stage, write its file; the most memory of this process in MiB (a child inherits its parent's maximum)."""
    Path("/proc/self/clear_refs").write_text("5")  # forget the maximum so far: proc(5)
    params = load_params()
    write_artifact(folder / f"{stage}.h5", "clip", artifact(stage, folder, video, params))
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return int(status["VmHWM"].split()[0]) / 1024


def main() -> None:
    """Print the table."""
    source, minutes = Path(sys.argv[1]), float(sys.argv[2]) if len(sys.argv) > 2 else 20
    spawn = multiprocessing.get_context("spawn")
    with tempfile.TemporaryDirectory() as folder:
        print(f"| stage | 10 s, MiB | {minutes:g} min, MiB | ratio |\n|---|---|---|---|")
        videos = {}
        for name, seconds in (("short", SHORT), ("long", round(60 * minutes))):
            (Path(folder) / name).mkdir()
            videos[name] = repeat(source, seconds, Path(folder) / name / "video.mp4")
        for stage in ("detect", "align", "track"):
            most = []
            for name, video in videos.items():
                with spawn.Pool(1) as pool:
                    most.append(pool.apply(run, (stage, Path(folder) / name, video)))
            print(f"| {stage} | {most[0]:.0f} | {most[1]:.0f} | {most[1] / most[0]:.2f} |", flush=True)
        boxes = read_array(Path(folder) / "long" / "detect.h5", "boxes")
        print(f"\n{round(60 * minutes) * FPS} frames, {len(boxes)} faces")


if __name__ == "__main__":
    main()
