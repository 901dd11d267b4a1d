"""Files and names made by somebody who means harm: refused, and nothing of theirs is run, read or overwritten."""

import os
import pickle
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import h5py
import numpy as np
import torch
from markupsafe import escape

from emotion_pipeline.data.artifact import read_array
from emotion_pipeline.data.models import read_model
from emotion_pipeline.data.scores import read_scores
from emotion_pipeline.datasets.ingest import ingest
from emotion_pipeline.errors import ClipError, UserError
from emotion_pipeline.faces.crops import read_faces
from emotion_pipeline.features.weights import read_own
from emotion_pipeline.params import IngestParams, load_params
from emotion_pipeline.report import evaluate
from emotion_pipeline.run.fingerprint import ROOT, file_sha256
from emotion_pipeline.weights.readers import READERS
from tests.attacks.tally import Tally
from tests.conftest import REPOSITORY
from tests.report.conftest import ANSWERS, CLIPS, clip, params_of, write_data, write_rows


def attack(folder: Path, quick: bool) -> Iterator[Tally]:
    for number, test in enumerate((_pickles, _names, _links, _parameters, _archives, _texts)):
        place = folder / str(number)
        place.mkdir()
        yield test(place)


class Trap:
    """Unpickled, it makes a file."""

    def __init__(self, mark: Path):
        self.mark = mark

    def __reduce__(self) -> tuple[Callable[[str], None], tuple[str]]:
        return os.mkdir, (str(self.mark),)


def _refused(tally: Tally, what: str, read: Callable[[], object], harmed: Callable[[], bool]) -> None:
    try:
        read()
        tally.count(f"{what}: accepted")
    except (UserError, ClipError):
        tally.count(f"{what}: refused, but it was run or read" if harmed() else "")


def _pickles(folder: Path) -> Tally:
    tally, mark = Tally("weights and models that run code when unpickled"), folder / "run"
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        plain, zipped = folder / f"plain_{protocol}", folder / f"zipped_{protocol}"
        plain.write_bytes(pickle.dumps({"fc6.weight": Trap(mark)}, protocol=protocol))
        torch.save({"fc6.weight": Trap(mark)}, zipped, pickle_protocol=max(protocol, 2))
        for file in (plain, zipped):
            for reader in READERS.values():
                _refused(tally, f"{file.name} by {reader.__name__}", partial(reader, file), mark.exists)
            _refused(tally, f"{file.name} as a network", partial(read_own, file, "vgg_face"), mark.exists)
            _refused(tally, f"{file.name} as a model", partial(read_model, file), mark.exists)
    return tally


TEXTS = ("<script>x</script>", "<img src=x onerror=y>", "' onload='x", "{{ 7 * 7 }}", "</style><b>", "&lt;script&gt;")

HOSTILE_NAMES = {
    "clip id leaves the folder": "../../x,a.mp4,,,",
    "clip id is a path": "/tmp/x,a.mp4,,,",
    "clip id has a line break": '"a\nb",a.mp4,,,',
    "clip id begins as an option": "-rf,a.mp4,,,",
    "clip id has a null byte": "a\0b,a.mp4,,,",
    "clip id runs a command": "$(touch x),a.mp4,,,",
    "clip id is HTML": "<script>,a.mp4,,,",
    "clip id is very long": f"{'a' * 5000},a.mp4,,,",
    "path leaves the folder": "a,../secret.mp4,,,",
    "path leaves the folder further on": "a,x/../../secret.mp4,,,",
    "path is absolute": "a,/etc/passwd,,,",
    "path is one of Windows": "a,..\\secret.mp4,,,",
    "path is an address": "a,http://127.0.0.1:9/a.mp4,,,",
    "path is a protocol": "a,file:/etc/passwd,,,",
}


def _names(folder: Path) -> Tally:
    tally = Tally("clip ids and paths of a manifest that lead out of the folder")
    runtime = load_params(REPOSITORY / "params.yaml").runtime.model_copy(update={"max_failed": 0.0})
    for number, (what, row) in enumerate(HOSTILE_NAMES.items()):
        root, out = folder / f"{number}/root", folder / f"{number}/data/ingest"
        root.mkdir(parents=True)
        secret = root.parent / "secret.mp4"
        secret.write_bytes(b"not for them")
        (root / "clips.csv").write_text(f"clip_id,path,split,label,subject\n{row}\n", encoding="utf-8")
        params = IngestParams(dataset="csv", root=str(root), min_clips=1, subjects=None)
        manifest = out / "clips.csv"
        _refused(
            tally,
            what,
            partial(ingest, root, out, params, runtime),
            lambda m=manifest, s=secret: m.exists() and file_sha256(s) in m.read_text(encoding="utf-8"),
        )
    return tally


def _links(folder: Path) -> Tally:
    """HDF5 files whose datasets lie in another file: a secret one here, that must not be read."""
    tally, secret = Tally("HDF5 links and data in other files"), folder / "secret.h5"
    values = np.arange(600, dtype=np.float32).reshape(1, 600)
    with h5py.File(secret, "w") as file:
        file["x"] = values
    values.tofile(folder / "secret.bin")
    layout = h5py.VirtualLayout((1, 600), np.float32)
    layout[:] = h5py.VirtualSource(secret, "x", (1, 600))
    ways: dict[str, Callable[[h5py.File, str], object]] = {
        "external link": lambda file, name: file.__setitem__(name, h5py.ExternalLink(str(secret), "x")),
        "soft link": lambda file, name: file.__setitem__(name, h5py.SoftLink("/elsewhere")),
        "virtual dataset": lambda file, name: file.create_virtual_dataset(name, layout),
        "external storage": lambda file, name: file.create_dataset(
            name, (1, 600), np.float32, external=[(str(folder / "secret.bin"), 0, values.nbytes)]
        ),
    }
    readers: dict[str, tuple[Callable[[Path], object], tuple[str, ...]]] = {
        "features": (lambda path: read_array(path, "features"), ("features",)),
        "features in a group": (lambda path: read_array(path, "overlap_8/features"), ("overlap_8/features",)),
        "faces": (lambda path: read_faces(path), ("faces",)),
        "coded faces": (lambda path: read_faces(path), ("faces_offset", "faces_jpeg")),
        "scores": (read_scores, ("clip_id", "scores", "present")),
    }
    for way, link in ways.items():
        for what, (reader, names) in readers.items():
            path = folder / f"{way}_{what}.h5".replace(" ", "_")
            with h5py.File(path, "w") as file:
                for name in names:
                    link(file, name)
            _refused(tally, f"{way} for {what}", partial(reader, path), lambda: False)
    return tally


def _parameters(folder: Path) -> Tally:
    tally, mark = Tally("params.yaml that runs code or is too large a tree"), folder / "run"
    texts = [
        f"!!python/object/apply:os.mkdir ['{mark}']",
        f"sample: !!python/object/apply:os.mkdir ['{mark}']",
        "sample: !!python/name:os.system",
        "a: &a [x, x]\nb: &b [*a, *a]\nc: &c [*b, *b]\nsample: *c",
        "- a list",
        "\0",
        "sample: {seed: " + "9" * 5000 + "}",
    ]
    for text in texts:
        file = folder / "params.yaml"
        file.write_text(text)
        _refused(tally, text[:40], partial(load_params, file), mark.exists)
    return tally


def _archives(folder: Path) -> Tally:
    """No code of the project unpacks an archive: members cannot leave a folder."""
    tally = Tally("ways to unpack an archive's members somewhere")
    code = {file.name: file.read_text(encoding="utf-8") for file in (ROOT / "emotion_pipeline").rglob("*.py")}
    for way in ("zipfile", "tarfile", "unpack_archive", "ZipFile", "extractall"):
        tally.count(", ".join(f"{name} uses {way}" for name, text in code.items() if way in text))
    return tally


def _texts(folder: Path) -> Tally:
    """Titles, clip ids, reasons with HTML in them: shown in the report as the text that they are."""
    tally = Tally("HTML in titles, clip ids and reasons")
    for number, text in enumerate(TEXTS):
        clips = [clip(text.replace("/", ""), "val", "angry"), *CLIPS]
        data = write_data(folder / f"{number}/data", clips, {**ANSWERS, text.replace("/", ""): "angry"})
        write_rows(data / "track/failures.csv", ("clip_id", "reason", "detail"), [(text, "no_face", text)])
        evaluate(data, folder / f"{number}/reports", params_of(title=text))
        page = (folder / f"{number}/reports/report.html").read_text(encoding="utf-8")
        tally.count(
            "" if str(escape(text)) in page and (text not in page or "<" not in text) else f"{text}: not escaped"
        )
    return tally
