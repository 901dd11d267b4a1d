"""Flipped bytes, truncated and empty files: in outputs, the store, DVC's cache and a remote."""

import json
import os
import random
import shutil
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import chdir
from functools import partial
from pathlib import Path
from unittest.mock import patch

import numpy as np

from emotion_pipeline.data.artifact import Artifact, read_array
from emotion_pipeline.data.manifest import Clip, write_failures, write_manifest
from emotion_pipeline.errors import UserError
from emotion_pipeline.params import Section, load_params
from emotion_pipeline.run.disk import store_folder
from emotion_pipeline.run.perclip import ClipWork, run_per_clip
from emotion_pipeline.run.store import made_once, result_path
from tests.attacks.chain import short_chain
from tests.attacks.tally import Tally
from tests.clone import Clone
from tests.conftest import REPOSITORY

NAMES = [f"clip_{k}" for k in range(5)]


def attack(folder: Path, quick: bool) -> Iterator[Tally]:
    yield from _attack_stages(folder / "stages", tries=4 if quick else 100)
    if not quick:
        yield from _attack_clone(folder / "team", tries=10)


def harm(path: Path, rng: random.Random) -> str:
    """Damage a file as a failing disk does, its time stamp as before; returns in which way."""
    content, was = path.read_bytes(), path.stat()
    kind = rng.choice(["flipped", "truncated", "empty"] if len(content) > 1 else ["flipped"])
    place = rng.randrange(len(content))
    if kind == "flipped":
        harmed = content[:place] + bytes([content[place] ^ (1 << rng.randrange(8))]) + content[place + 1 :]
    else:
        harmed = b"" if kind == "empty" else content[:place]
    path.chmod(0o644)
    path.write_bytes(harmed)
    path.chmod(was.st_mode)
    os.utime(path, ns=(was.st_atime_ns, was.st_mtime_ns))
    return kind


class Plus(Section):
    plus: float


def doubled(files: Sequence[Path], params: Plus) -> Artifact:
    return Artifact({"value": np.full(50, 2 * float(files[0].read_text()) + params.plus)})


def summed(files: Sequence[Path], params: Plus) -> Artifact:
    return Artifact({"value": np.array([read_array(files[0], "value").sum()])})


def _works(root: Path) -> list[ClipWork]:
    """Two stages of stubs, the second on what the first has made."""
    runtime = load_params(REPOSITORY / "params.yaml").runtime.model_copy(update={"workers": 1})
    ingest, params = root / "data/ingest", Plus(plus=1)
    first, second = root / "data/doubled", root / "data/summed"
    return [
        ClipWork(partial(doubled, params=params), ingest, lambda c: [root / c.path], first, params, runtime),
        ClipWork(
            partial(summed, params=params), ingest, lambda c: [first / f"{c.clip_id}.h5"], second, params, runtime
        ),
    ]


def _attack_stages(root: Path, tries: int) -> Iterator[Tally]:
    """Without DVC: a file is damaged, the stages run again; the same bytes as before, or a message with its name."""
    ingest = root / "data/ingest"
    ingest.mkdir(parents=True)
    for k, name in enumerate(NAMES):
        (root / f"{name}.txt").write_text(str(k))
    write_manifest(ingest / "clips.csv", [Clip(name, f"{name}.txt", "train", "happy", "") for name in NAMES])
    write_failures(ingest, {})
    with chdir(root), patch.dict(os.environ, EMOTION_PIPELINE_STORE=str(root / "store")):
        yield from _attack_in_place(root, tries)


def _attack_in_place(root: Path, tries: int) -> Iterator[Tally]:
    def run() -> dict[str, bytes]:
        for work in _works(root):
            run_per_clip(work)
        return {path.name + path.parent.name: path.read_bytes() for path in sorted(root.glob("data/*ed/*"))}

    wanted, rng = run(), random.Random(1)
    places: dict[str, Callable[[], list[Path]]] = {
        "kept result": lambda: sorted(store_folder().glob("results/*/*.h5")),
        "its hash": lambda: sorted(store_folder().glob("results/*/*.sha256")),
        "output": lambda: sorted((root / "data/doubled").glob("*")),
    }
    for name, files in places.items():
        tally = Tally(f"{name} damaged, stage run again")
        for _ in range(tries):
            file = rng.choice(files())
            kind = harm(file, rng)
            tally.count("" if run() == wanted else f"{file.name} {kind}: other results")
        yield tally
    yield _damaged_inputs(root, wanted, tries, rng)
    yield _damaged_trainings(root, tries, rng)


def _damaged_inputs(root: Path, wanted: dict[str, bytes], tries: int, rng: random.Random) -> Tally:
    """What a stage reads is damaged, and nothing is left of the stage that made it."""
    tally, first = Tally("input damaged: refused by name"), _works(root)[0]
    for _ in range(tries):
        file = rng.choice(sorted(first.out.glob("*.h5")))
        whole = file.read_bytes()
        file.unlink()  # no longer the same file as in the store
        file.write_bytes(whole)
        kind = harm(file, rng)
        try:
            run_per_clip(_works(root)[1])
            tally.count(f"{file.name} {kind}: read as data")
        except UserError as error:
            tally.count("" if file.name in str(error) else f"{file.name} {kind}: {error}")
        file.write_bytes(whole)
    return tally


def _damaged_trainings(root: Path, tries: int, rng: random.Random) -> Tally:
    tally, model = Tally("trained network damaged, trained again"), root / "data/models/net.safetensors"

    def make(file: Path, checkpoint: Path) -> None:
        file.write_bytes(bytes(range(256)))

    made_once("key", model, make)
    kept = result_path("key", model.suffix)
    for _ in range(tries):
        file = rng.choice([kept, kept.with_suffix(".sha256")])
        kind = harm(file, rng)
        made_once("key", model, make)
        good = model.read_bytes() == kept.read_bytes() == bytes(range(256))
        tally.count("" if good else f"{file.name} {kind}: used")
    return tally


def _attack_clone(folder: Path, tries: int) -> Iterator[Tally]:
    """With DVC: `verify` names the file, `verify --remove` and `dvc repro` give the bytes of before."""
    clone = short_chain(folder)
    clone.repro()
    clone.run("dvc", "remote", "add", "-q", "-d", "origin", str(folder / "remote"))
    clone.run("dvc", "push", "-q")
    clone.run("git", "add", "-A")
    clone.run("git", "commit", "-qm", "First run")
    rng, wanted = random.Random(1), clone.outputs()
    places = {
        "output": ["data/track", "data/extract_vgg", "data/train_temporal", "data/models"],
        "kept result": [".cache/results"],
        "DVC's cache": [".dvc/cache/files/md5"],
    }
    for name, folders in places.items():
        tally = Tally(f"{name} damaged: named by verify, mended by dvc repro")
        for _ in range(tries):
            file = rng.choice([path for inner in folders for path in _files(clone.folder / inner)])
            tally.count(_mended(clone, file, harm(file, rng), wanted))
        yield tally
    yield _damaged_remote(clone, folder, tries, rng)


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file() and path.stat().st_size)


def _mended(clone: Clone, file: Path, kind: str, wanted: dict[str, str]) -> str:
    what = f"{file.relative_to(clone.folder)} {kind}"
    command = (sys.executable, "-m", "emotion_pipeline", "verify", "--json", "--remove")
    named = [row["path"] for row in json.loads(clone.run(*command, status=1))["damaged"]]
    if not any(Path(name).stem == file.stem for name in named):
        return f"{what}: not named, but {named}"
    clone.repro()
    clone.run(*command)
    return "" if clone.outputs() == wanted else f"{what}: other outputs"


def _damaged_remote(clone: Clone, folder: Path, tries: int, rng: random.Random) -> Tally:
    """A colleague pulls from a remote with a damaged file: told so by DVC, or by `verify`."""
    tally = Tally("remote damaged: noticed by who pulls")
    for number in range(tries):
        file = rng.choice(_files(folder / "remote"))
        whole = file.read_bytes()
        kind = harm(file, rng)
        colleague = Clone(folder / f"colleague_{number}")
        clone.run("git", "clone", "-q", ".", str(colleague.folder))
        problem = f"{file.relative_to(folder)} {kind}: pulled without a word"
        try:
            colleague.run("dvc", "pull")  # with -q DVC leaves out why it failed
            colleague.run(sys.executable, "-m", "emotion_pipeline", "verify")
        except AssertionError as error:
            said = any(word in str(error) for word in ("corrupt", "damaged", "its bytes do not match", file.name))
            problem = "" if said else f"{file.relative_to(folder)} {kind}: {error}"
        tally.count(problem)
        file.unlink(missing_ok=True)
        file.write_bytes(whole)
        shutil.rmtree(colleague.folder)
    return tally
