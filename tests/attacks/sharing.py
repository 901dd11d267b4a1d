"""A team's story: one computes and pushes, another pulls what is needed, changes a fusion, adds a clip, pushes back.

Quick: with a folder as remote, up to the changed fusion. In full: all of it, with an SSH server and an S3-compatible
server on loopback as well, every byte on the wire counted.
"""

import logging
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import yaml

from tests.attacks.remotes import REMOTES, Remote, size_of
from tests.attacks.tally import Tally
from tests.clone import PER_CLIP, Clone, new_clone

log = logging.getLogger(__name__)

MODELS = ("vgg_lstm", "c3d_lstm", "c3d_lstm_overlap8", "audio_mlp")
FUSIONS = ("mean", "submission_3")
NETWORKS = ("finetune_vgg", *(f"finetune_c3d/{name}" for name in ("weighted", "central", "random")))
SCORES = ("train_temporal", "fuse")
NOT_NEEDED = ("raw/sample", "raw/stills", "raw/clips", "models", *NETWORKS, *PER_CLIP)
"""Folders of data/ with videos, faces, features or models: a fusion experiment has at most small tables of them."""

PULL_SCORES = "dvc pull $(dvc stage list --name-only | sed -nE 's#^(train_temporal|fuse|finetune_c3d)@#data/\\1/#p')"
"""As docs/sharing.md has it."""

STEPS = "compute, push, pull, fuse, add a clip, push, pull"
QUICK_STEPS = 3
SMALL = {".csv"}
FACTOR = 4
"""What one changed clip may send, as a multiple of its own files: they, lists of files, all scores, the report."""


def attack(folder: Path, quick: bool) -> Iterator[Tally]:
    """One tally per kind of remote, one try per step of the story."""
    first = computed(folder / "first")
    for kind in ("folder",) if quick else REMOTES:
        try:
            yield told(folder / kind, first, kind, QUICK_STEPS if quick else None)
        except RuntimeError as error:  # no such server here
            tally = Tally(f"{STEPS}: {kind}")
            tally.count(f"not tried: {error}")
            yield tally


def told(folder: Path, first: Clone, kind: str, steps: int | None = None) -> Tally:
    """The story with one kind of remote, or its first steps, A being a copy of a clone in which everything has run."""
    with REMOTES[kind](folder / "server") as remote:
        a = Clone(folder / "a", first.limit_s)
        shutil.copytree(first.folder, a.folder, symlinks=True)
        tally = Tally(f"{STEPS}: {kind}")
        story = Story(folder, a, remote)
        for step in story.steps()[:steps]:
            tally.count(step())
        tally.test = f"{tally.test}; {story.result}"
        return tally


def computed(folder: Path) -> Clone:
    """A small clone in which everything has run."""
    clone = new_clone(folder)
    clone.limit_s = 3600
    params = yaml.safe_load((folder / "params.yaml").read_text())
    params["train_temporal"] = {name: params["train_temporal"][name] | {"refit": False} for name in MODELS}
    params["fusion"] = {name: params["fusion"][name] for name in FUSIONS}
    params["training"]["seeds"] = [1]
    (folder / "params.yaml").write_text(yaml.safe_dump(params, sort_keys=False))
    clone.run("dvc", "repro", "sample")
    shutil.copytree(folder / "data/raw/sample", folder / "data/raw/clips")
    clone.repro()
    clone.run("git", "add", "-A")
    clone.run("git", "commit", "-qm", "First run")
    return clone


class Story:
    """The steps, each of which says what went wrong in it ("": nothing)."""

    def __init__(self, folder: Path, a: Clone, remote: Remote):
        self.a, self.b, self.remote, self.result = a, Clone(folder / "b", a.limit_s), remote, ""

    def steps(self) -> list[Callable[[], str]]:
        return [self.push, self.clone, self.fuse, self.pull_all, self.add_clip, self.push_back, self.pull_back]

    def connect(self, clone: Clone) -> None:
        """Credentials and ports are in .dvc/config.local, which git does not see."""
        for key, value in self.remote.settings:
            clone.run("dvc", "remote", "modify", "--local", "team", key, value)

    def passed(self, clone: Clone, *command: str) -> tuple[int, int, int]:
        """Run it: bytes sent, bytes received, and by how much DVC's cache in the clone has grown."""
        cache = clone.folder / ".dvc/cache"
        sent, received, held = *self.remote.bytes_passed(), size_of(cache)
        clone.run(*command)
        now = self.remote.bytes_passed()
        return now[0] - sent, now[1] - received, size_of(cache) - held

    def note(self, what: str, sent: int, received: int, held: int) -> None:
        log.warning("%s, %s: %d sent, %d received, %d new in the cache", self.remote.kind, what, sent, received, held)

    def push(self) -> str:
        self.a.run("git", "rm", "-rq", "--cached", "data/raw/clips")
        self.a.run("dvc", "add", "-q", "data/raw/clips")
        self.a.run("dvc", "remote", "add", "-q", "-d", "team", self.remote.url)
        self.a.run("git", "add", "-A")
        self.connect(self.a)
        self.a.run("git", "commit", "-qam", "Remote")
        passed = self.passed(self.a, "dvc", "push", "-q")
        self.note("all pushed", *passed)
        whole = size_of(self.a.folder / ".dvc/cache/files")
        return "" if passed[0] >= 0.9 * whole else f"{passed[0]} bytes pushed of {whole}"

    def clone(self) -> str:
        """Nothing is downloaded, and DVC finds nothing to do."""
        self.a.run("git", "clone", "-q", ".", str(self.b.folder))
        for key, value in (("user.email", "b@example.org"), ("user.name", "B")):
            self.b.run("git", "config", key, value)
        self.connect(self.b)
        output = self.b.run("dvc", "repro", "--allow-missing", "--dry")
        return "" if "up to date" in output else output[-300:]

    def fuse(self) -> str:
        """Runs that fusion and the report, with neither videos nor faces nor features nor models."""
        pulled = self.passed(self.b, "bash", "-c", PULL_SCORES)
        self.b.edit("fusion", "submission_3", "drop_probability", value=0.5)
        output = self.b.run("dvc", "repro", "--pull", "--allow-missing")
        self.note("pulled for a fusion experiment", *pulled)
        ran = [line.split("'")[1] for line in output.splitlines() if line.startswith("Running stage")]
        if ran != ["fuse@submission_3", "evaluate"]:
            return f"ran {ran}"
        return self.surplus()

    def surplus(self) -> str:
        here = [p for name in NOT_NEEDED for p in (self.b.folder / "data" / name).rglob("*") if p.is_file()]
        here = [p for p in here if not p.is_relative_to(self.b.folder / "data/models/fuse/submission_3")]  # its own
        large = [str(p) for p in here if p.suffix not in SMALL or p.stat().st_size > 100_000]
        published = [p for p in (self.b.folder / "data/weights").rglob("*") if p.suffix == ".pth"]
        return f"on the disk: {[*large, *published]}" if large or published else ""

    def pull_all(self) -> str:
        """B takes the experiment over, and gets the rest, for what comes next."""
        self.b.run("git", "commit", "-qam", "Drop more")
        self.note("pushed after a fusion experiment", *self.passed(self.b, "dvc", "push", "-q"))
        self.note("the rest pulled", *self.passed(self.b, "dvc", "pull", "-q"))
        output = self.b.repro()
        return "" if "up to date" in output else output[-300:]

    def add_clip(self) -> str:
        self.b.add_clip("shared")
        output = self.b.repro()
        found = self.b.summaries(output)
        wrong = {s: c for s, c in found.items() if not (c.startswith("1 computed, ") and c.endswith(" 0 failed"))}
        trained = [name for name in NETWORKS if f"{name}: reused" not in output]
        trained += re.findall(r"best epoch .*", output)
        if wrong or trained or set(found) != set(PER_CLIP):
            return f"{wrong} {trained} {set(PER_CLIP) - set(found)}"
        return ""

    def push_back(self) -> str:
        """What is sent for one clip is of the order of its own files."""
        self.b.run("git", "add", "-A")
        self.b.run("git", "commit", "-qm", "One more clip")
        passed = self.passed(self.b, "dvc", "push", "-q")
        data = self.b.folder / "data"
        own = sum(path.stat().st_size for path in [*data.rglob("shared.h5"), *(data / "raw/clips").glob("shared.*")])
        self.note(f"one clip of {own} bytes pushed", *passed)
        self.result = f"files of the added clip {own / 1e3:.0f} kB, sent {passed[0] / 1e3:.0f} kB"
        return self.beyond(passed[0], own)

    def beyond(self, passed: int, own: int) -> str:
        """Its own files, and what of all clips together has changed: scores, descriptors, lists, the report."""
        shared = sum(size_of(self.b.folder / "data" / name) for name in SCORES) + size_of(self.b.folder / "reports")
        return "" if own <= passed <= FACTOR * own + shared else f"{passed} bytes for a clip of {own}, {shared} shared"

    def pull_back(self) -> str:
        """A gets the same bytes, and computes nothing."""
        self.a.run("git", "pull", "-q", str(self.b.folder))
        passed = self.passed(self.a, "dvc", "pull", "-q")
        self.note("one clip pulled", *passed)
        self.result += f", received {max(passed[1:]) / 1e3:.0f} kB"
        output = self.a.repro()
        return "" if "Running stage" not in output and "up to date" in output else output[-300:]
