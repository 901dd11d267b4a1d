"""The files that detectors and landmark predictors read: inside installed packages, or in data/weights/faces."""

import importlib.util
import logging
import shutil
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from emotion_pipeline.data.artifact import atomic
from emotion_pipeline.errors import UserError
from emotion_pipeline.run.fingerprint import file_sha256
from emotion_pipeline.weights.fetch import fetch, require_sha256, state, verdict

log = logging.getLogger(__name__)

FOLDER = Path("data/weights/faces")
"""Where published files lie."""

FACE_ALIGNMENT = "BSD 3-Clause (face-alignment; the training images belong to others)"


@dataclass(frozen=True)
class PublishedFile:
    """One file: where it comes from, its terms, and what reads it."""

    address: str
    licence: str
    sha256: str | None  # in full, or its first digits; None where it is not known
    setting: str  # the key of params.yaml
    choices: tuple[str, ...]  # the values of that key that read the file
    package: str = ""  # that the choice needs besides, and that is not installed with this one


PUBLISHED = {
    "face_detection_yunet_2023mar.onnx": PublishedFile(
        address="https://github.com/opencv/opencv_zoo/raw/main/models/face_detection_yunet/"
        "face_detection_yunet_2023mar.onnx",
        licence="MIT (OpenCV zoo; Wu et al. 2023)",
        sha256="8f2383e4dd3cfbb4553ea8718107fc0423210dc964f9f4280604804ed2552fa4",
        setting="detect.detector",
        choices=("yunet", "fa_yunet"),
    ),
    "s3fd-619a316812.pth": PublishedFile(
        address="https://www.adrianbulat.com/downloads/python-fan/s3fd-619a316812.pth",
        licence=FACE_ALIGNMENT,
        sha256="619a31681264d3f7f7fc7a16a42cbbe8b23f31a256f75a366e5a1bcd59b33543",
        setting="detect.detector",
        choices=("fa_sfd",),
    ),
    # The model for front cameras. The package's other one, for smaller faces, is not offered.
    "blazeface.pth": PublishedFile(
        address="https://github.com/hollance/BlazeFace-PyTorch/blob/master/blazeface.pth?raw=true",
        licence="Apache 2.0 (MediaPipe)",
        sha256=None,
        setting="detect.detector",
        choices=("fa_blazeface",),
    ),
    "anchors.npy": PublishedFile(
        address="https://github.com/hollance/BlazeFace-PyTorch/blob/master/anchors.npy?raw=true",
        licence="Apache 2.0 (MediaPipe)",
        sha256=None,
        setting="detect.detector",
        choices=("fa_blazeface",),
    ),
    "scrfd_2.5g_bnkps.onnx": PublishedFile(  # the package's name for it
        address="https://github.com/yakhyo/facial-analysis/releases/download/v0.0.1/det_2.5g.onnx",
        licence="non-commercial research (InsightFace; Guo et al. 2022)",
        sha256=None,
        setting="detect.detector",
        choices=("fa_scrfd",),
        package="onnxruntime",
    ),
    "retinaface_mobilenet0.25.pth": PublishedFile(
        address="https://www.adrianbulat.com/downloads/python-fan/retinaface_mobilenet0.25.pth",
        licence="MIT (biubug6/Pytorch_Retinaface)",
        sha256=None,
        setting="detect.detector",
        choices=("fa_retinaface",),
        package="torchvision",
    ),
    "2DFAN4-11f355bf06.pth.tar": PublishedFile(
        address="https://www.adrianbulat.com/downloads/python-fan/2DFAN4-11f355bf06.pth.tar",
        licence=FACE_ALIGNMENT,
        sha256="11f355bf0693120222f5955ce3f9dc8fb5763ebb30a47d7906e509490d32e4aa",
        setting="align.predictor",
        choices=("fan_2d",),
    ),
}
"""By file name, which is that in the cache of the package face-alignment."""


def package_file(package: str, *parts: str) -> Path:
    """A file inside an installed package, which is not imported. Raises UserError where it is not installed."""
    found = importlib.util.find_spec(package)
    if found is None or found.origin is None:
        name = package.replace("_", "-")
        raise UserError(f"{'/'.join(parts)}: is in the package {name}, which is not installed: pip install {name}")
    return Path(found.origin).parent.joinpath(*parts)


def files_of(choice: str) -> list[Path]:
    """Every file that a detector or predictor reads, as `published_file`.

    Raises as that, and UserError where a package is missing, before anything is downloaded.
    """
    records = {name: record for name, record in PUBLISHED.items() if choice in record.choices}
    for record in records.values():
        package = record.package
        if package and importlib.util.find_spec(package) is None:
            raise UserError(
                f"{record.setting}: {choice} needs the package {package}, which is not installed:"
                f" pip install -c requirements.txt {package}"
            )
    return [published_file(name) for name in records]


def published_file(name: str) -> Path:
    """A file of `PUBLISHED` in `FOLDER`; one that is not there is copied from face-alignment's cache, or downloaded.

    Raises UserError for a wrong checksum, and as `fetch`; nothing is changed then.
    """
    path = FOLDER / name
    if path.is_file():
        _check(name, path, path)
    else:
        _obtain(name)
    return path


def get(name: str) -> None:
    """As `published_file`, but replaces a wrong file, and logs what is there now."""
    path, record = FOLDER / name, PUBLISHED[name]
    found = verdict(path, partial(_check, name, path, path)) or _obtain(name)
    log.info("%s: %s; `%s: %s` uses it", path, found, record.setting, record.choices[0])


def listing() -> str:
    """Which choice needs which files, where they are published, under which licence, and what is in `FOLDER`."""
    lines = []
    for setting, choices, package in dict.fromkeys((r.setting, r.choices, r.package) for r in PUBLISHED.values()):
        also = f" (and `pip install -c requirements.txt {package}`)" if package else ""
        lines.append(f"{' or '.join(choices)}: in `{setting}`{also}")
        for name, record in PUBLISHED.items():
            if record.choices == choices:
                path = FOLDER / name
                found = state(path, partial(_check, name, path, path))
                lines += [f"  {path}", f"    {record.address}", f"    {record.licence}", f"    {found}"]
    return "\n".join(lines)


def _obtain(name: str) -> str:
    from torch.hub import get_dir  # imports torch: seconds and memory, for what is rarely needed

    path, record = FOLDER / name, PUBLISHED[name]
    cached = Path(get_dir()) / "checkpoints" / name
    with atomic(path) as temporary:
        if found := verdict(cached, partial(_check, name, cached, cached)):
            shutil.copyfile(cached, temporary)
            log.info("%s: copied from %s", path, cached)
            return found
        log.info("%s: %s", record.address, record.licence)
        fetch(record.address, temporary, path)
        return _check(name, temporary, record.address)


def _check(name: str, content: Path, source: Path | str) -> str:
    """In what respect a file's content is right, in words. Raises UserError naming `source` where it is not."""
    expected = PUBLISHED[name].sha256
    again = f"`python -m emotion_pipeline weights get {name}` gets it anew"
    if expected:
        require_sha256(content, expected, source, again)
    with open(content, "rb") as file:
        start = file.read(1)
    if start in (b"", b"<"):
        raise UserError(f"{source}: expected {name}, found {'a web page' if start else 'an empty file'}; {again}")
    if expected:
        return f"right: the published SHA-256 ({expected[:10]}...)"
    return f"no SHA-256 is published to compare with; this file's is {file_sha256(content)}"
