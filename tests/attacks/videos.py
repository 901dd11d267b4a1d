"""Damaged videos beside good ones, through the stages: each is read whole or listed with a reason, the rest goes on."""

import csv
import math
import os
import random
import re
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import h5py
import numpy as np
import yaml

from emotion_pipeline.data.manifest import read_failures, read_manifest
from emotion_pipeline.data.media import frames
from tests.attacks import spoilt, trickery
from tests.attacks.clips import write_good
from tests.attacks.tally import Tally
from tests.conftest import REPOSITORY

Kinds = Mapping[str, tuple[spoilt.Make, str]]

KINDS: Kinds = {
    "cut": (spoilt.cut, ""),
    "a few bytes changed": (spoilt.few_bytes, ""),
    "many bytes changed": (spoilt.many_bytes, ""),
    "bytes of the header changed": (spoilt.header_bytes, ""),
    "pieces shuffled": (spoilt.raw_pieces, ""),
    "packets shuffled": (spoilt.packets, ""),
    "zero length": (spoilt.zero_length, "listed"),
    "absurd sizes in headers": (spoilt.sizes_in_headers, ""),
    "true pictures over the limit": (spoilt.true_huge_pictures, "listed"),
    "absurd rates and counts in headers": (trickery.rates_in_headers, ""),
    "time stamps that jump": (trickery.times_that_jump, ""),
    "absurd sound": (trickery.sound_rates, ""),
    "sound without end": (trickery.endless_sound, "listed"),
    "audio only": (spoilt.audio_only, "listed"),
    "another kind of file": (spoilt.other_kinds, "listed"),
    "no ordinary file": (trickery.no_files, "listed"),
    "wrong extension": (spoilt.wrong_extension, "whole"),
    "odd pixel formats and sizes": (spoilt.odd_pictures, "whole"),
}
"""What must become of the files: `listed` in a failures.csv, read `whole`, or one of the two."""

SLOW: Kinds = {
    "pictures at the limit": (spoilt.largest_pictures, "whole"),
    "files without end": (trickery.endless_files, "listed"),
}

STAGES = {
    "ingest": ["raw", "data/ingest"],
    "detect": ["data/ingest", "raw", "data/detect"],
    "extract_audio": ["data/ingest", "raw", "data/extract_audio"],
}
MORE_STAGES = {
    "align": ["data/ingest", "raw", "data/detect", "data/align"],
    "track": ["data/ingest", "raw", "data/detect", "data/align", "overrides.csv", "data/track"],
}
"""Stages that decode clips, and their arguments."""

CLIP_SECONDS = 30
MOST_BYTES = 3 * 2**30
"""Of one process of a stage: 8K pictures in CenterFace need the most."""


QUICK_FILES = 2
"""Of each kind, in the quick run."""


@dataclass(frozen=True)
class Ended:
    """How a stage ended: exit status, what it wrote, bytes of its largest process."""

    status: int
    text: str
    peak: int


def attack(folder: Path, quick: bool) -> Iterator[Tally]:
    alone, beside = folder / "alone", folder / "beside"
    good = write_good(alone / "raw")
    with socket.create_server(("127.0.0.1", 0)) as server:
        calls = partial(trickery.playlists, address="{}:{}".format(*server.getsockname()))
        kinds = KINDS | {"playlists": (calls, "listed")} | ({} if quick else SLOW)
        files = {
            kind: _made(beside / "raw" / str(k), make, good, quick) for k, (kind, (make, _)) in enumerate(kinds.items())
        }
        bad = {_id(path): path for paths in files.values() for path in paths}
        for name, data in good.items():
            (beside / "raw" / name).write_bytes(data)
        for place, clips in ((alone, {}), (beside, bad)):
            _lay_out(place, {name: place / "raw" / name for name in good} | clips)
        stages = STAGES if quick else STAGES | MORE_STAGES
        yield from _run_all([alone, beside], stages, len(bad))
        yield _unanswered(server)
    if not all((place / "data" / stage / "failures.csv").is_file() for place in (alone, beside) for stage in stages):
        return  # that is told already
    yield _unchanged(alone, beside, list(good), list(stages))
    results = Results(beside, list(stages))
    for kind, (_, must) in kinds.items():
        tally = Tally(kind)
        for path in files[kind]:
            tally.count(results.problem(_id(path), path, must))
        yield tally


def _id(path: Path) -> str:
    """A plain name: the kind's number, and the file's own."""
    return re.sub(r"[^A-Za-z0-9._-]", "_", f"{path.parent.name}-{path.name}")[:120]


def _made(folder: Path, make: spoilt.Make, good: spoilt.Good, quick: bool) -> list[Path]:
    folder.mkdir(parents=True)
    files = list(make(folder, good, random.Random(folder.name)))
    return files[:: math.ceil(len(files) / QUICK_FILES)] if quick else files


def _lay_out(place: Path, clips: Mapping[str, Path]) -> None:
    """`params.yaml` and the data set's list of clips."""
    params = yaml.safe_load((REPOSITORY / "params.yaml").read_text())
    params["ingest"] |= {"dataset": "csv", "root": "raw", "min_clips": 0}
    params["detect"]["scale"] = 0.25  # faces fill the pictures
    params["runtime"] |= {"workers": 2, "device": "cpu", "max_failed": 1.0, "clip_seconds": CLIP_SECONDS}
    (place / "params.yaml").write_text(yaml.safe_dump(params))
    (place / "overrides.csv").write_text("clip_id,track\n")
    with open(place / "raw" / "clips.csv", "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["clip_id", "path"])
        writer.writerows([clip_id, path.relative_to(place / "raw")] for clip_id, path in clips.items())


def _run_all(places: Sequence[Path], stages: Mapping[str, Sequence[str]], clips: int) -> Iterator[Tally]:
    ends, memory = Tally("a stage ends by itself, without a traceback"), Tally("a process of a stage stays small")
    for place in places:
        for stage, arguments in stages.items():
            ended = _run(place, stage, arguments, 120 + 4 * clips)
            what = f"{place.name}, {stage}"
            calm = ended.status == 0 and "Traceback" not in ended.text
            ends.count("" if calm else f"{what}: exit status {ended.status}: {ended.text[-3000:]}")
            memory.count("" if ended.peak < MOST_BYTES else f"{what}: {ended.peak / 2**20:.0f} MiB")
    yield ends
    yield memory


def _run(place: Path, stage: str, arguments: Sequence[str], seconds: float) -> Ended:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("DVC_")}
    environment |= {"PYTHONPATH": str(REPOSITORY), "EMOTION_PIPELINE_STORE": str(place / "store")}
    command = [sys.executable, "-m", f"stages.{stage}", *arguments]
    with open(place / f"{stage}.log", "w+") as log:
        process = subprocess.Popen(command, cwd=place, env=environment, stdout=log, stderr=log)
        watch = threading.Timer(seconds, process.kill)
        watch.start()
        _, status, used = os.wait4(process.pid, 0)
        watch.cancel()
        process.returncode = os.waitstatus_to_exitcode(status)
        log.seek(0)
        return Ended(process.returncode, log.read(), used.ru_maxrss * 1024)


def _unanswered(server: socket.socket) -> Tally:
    tally = Tally("no file calls an address in the net")
    server.setblocking(False)
    try:
        caller = server.accept()
    except BlockingIOError:
        caller = None
    tally.count(f"a call from {caller[1]}" if caller else "")
    return tally


def _unchanged(alone: Path, beside: Path, good: Sequence[str], stages: Sequence[str]) -> Tally:
    tally = Tally("a good clip beside them has the same results")
    rows = [{c.clip_id: c for c in read_manifest(place / "data/ingest/clips.csv")} for place in (alone, beside)]
    for name in good:
        tally.count("" if rows[0][name] == rows[1][name] and rows[0][name].frames else f"{name}: another row")
        for stage in stages[1:]:
            one, other = (place / f"data/{stage}/{name}.h5" for place in (alone, beside))
            same = one.is_file() and other.is_file() and one.read_bytes() == other.read_bytes()
            tally.count("" if same else f"{name}: not the same result of {stage}")
    return tally


class Results:
    """What the stages made of the clips."""

    def __init__(self, place: Path, stages: Sequence[str]):
        self.place, self.stages = place, stages[1:]
        self.clips = {clip.clip_id: clip for clip in read_manifest(place / "data/ingest/clips.csv")}
        self.failed = {stage: read_failures(place / "data" / stage) for stage in stages}

    def problem(self, clip_id: str, path: Path, must: str) -> str:
        """What is wrong with the way in which this file was treated; empty for nothing."""
        problems = [self._row(clip_id)] if clip_id not in self.failed["ingest"] else []
        read = not self.failed["ingest"].get(clip_id)
        for stage in self.stages:
            made, listed = self._file(stage, clip_id), self.failed[stage].get(clip_id)
            if made.is_file():
                problems.append(self._content(stage, made, path))
            elif not listed:
                problems.append(f"{stage}: neither a result nor a reason")
            elif not (listed.detail and (path.name in listed.detail or clip_id in listed.detail)):
                problems.append(f"{stage}: the reason names no file: {listed}")
            read &= made.is_file()
        if must and (must == "whole") != read:
            problems.append(f"expected it {must}; {[str(rows.get(clip_id)) for rows in self.failed.values()]}")
        return "; ".join([f"{clip_id}: {problem}" for problem in problems if problem])

    def _file(self, stage: str, clip_id: str) -> Path:
        return self.place / "data" / stage / f"{clip_id}.h5"

    def _row(self, clip_id: str) -> str:
        row = self.clips.get(clip_id)
        sound = row and math.isfinite(row.fps) and math.isfinite(row.seconds) and row.fps >= 0 and row.seconds >= 0
        return "" if sound and row.frames and row.width and row.height and row.sha256 else f"a row like this: {row}"

    def _content(self, stage: str, file: Path, video: Path) -> str:
        values: dict[str, np.ndarray] = {}
        with h5py.File(file) as content:
            content.visititems(lambda name, item: values.update({name: item[()]} if hasattr(item, "shape") else {}))
            attributes = dict(content.attrs)
        if stage == "track" and "boxes" in values:
            values["boxes"] = values["boxes"][:, :4]  # a face that was filled in has no score
        if not all(np.isfinite(value).all() for value in values.values()):
            return f"{stage}: not all values are finite"
        if stage == "detect":
            decoded = sum(1 for _ in frames(video))
            if not decoded == len(values["time"]) == attributes["frames"]:
                return f"{decoded} pictures, {len(values['time'])} in the result"
        return ""
