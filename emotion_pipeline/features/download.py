"""The published files of weights on this machine: which are there, whether they are right, and getting one."""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.client import HTTPException
from pathlib import Path
from urllib.error import HTTPError, URLError
from urllib.request import urlopen

import torch
from tqdm import tqdm

from emotion_pipeline.clips import UserError
from emotion_pipeline.features.c3d import C3D
from emotion_pipeline.features.network import FaceNetwork
from emotion_pipeline.features.vgg_face import VGGFace
from emotion_pipeline.features.weights import WEIGHTS, Weights, fitting, read_record
from emotion_pipeline.fingerprint import file_sha256
from emotion_pipeline.store import atomic

log = logging.getLogger(__name__)

NETWORKS: dict[str, Callable[[int], FaceNetwork]] = {"vgg_face": VGGFace, "c3d": C3D}
"""Builders by name, to be called with the number of classes."""

STAGES = {"vgg_face": "finetune_vgg", "c3d": "finetune_c3d"}
"""The stage that starts from a network's file."""

SECONDS = 30
"""How long a server may keep silent."""

CHUNK = 1 << 20
"""Bytes read at a time."""


def listing(folder: Path) -> str:
    """What each network can start from, where it is published, under which licence, and what is in `folder`."""
    lines = []
    for network, stage in STAGES.items():
        lines.append(f"{network}: one of these in `{stage}.weights`")
        for name, record in WEIGHTS.items():
            if record.network == network:
                path = folder / network / name
                lines += [f"  {path}", f"    {record.address}", f"    {record.licence}", f"    {_state(path, record)}"]
    return "\n".join(lines)


def get(name: str, folder: Path) -> Path:
    """Download a file to `folder/<network>/<name>`, unless it is there and right; returns its path.

    Raises UserError for an unknown name, without a connection, for an answer that is not the file, or not all of it:
    nothing is changed then.
    """
    if name not in WEIGHTS:
        raise UserError(f"{name}: no published file of this name is known; there are {', '.join(WEIGHTS)}")
    record = WEIGHTS[name]
    path = folder / record.network / name
    verdict = _verdict(path, record)
    if verdict is None:
        log.info("%s: %s", record.address, record.licence)
        with atomic(path) as temporary:
            verdict = _download(record, temporary, path)
    log.info("%s: %s; `%s.weights: %s` uses it", path, verdict, STAGES[record.network], name)
    return path


def check(path: Path, record: Weights) -> str:
    """In what respect a file is right, in words. Raises UserError where it is not, as `read_record` and `fitting`."""
    with torch.device("meta"):
        network = NETWORKS[record.network](1)
    fitting(network, read_record(path, record), path, skip="fc8")
    if record.sha256:
        return f"right: the layers of {record.network}, and the published SHA-256 ({record.sha256}...)"
    digest = file_sha256(path)
    return f"the layers of {record.network}; no SHA-256 is published to compare with; this file's is {digest}"


def _verdict(path: Path, record: Weights) -> str | None:
    """As `check`; None where the file is absent or, which is then said, wrong."""
    try:
        return check(path, record) if path.is_file() else None
    except UserError as error:
        log.info("%s", error)
        return None


def _state(path: Path, record: Weights) -> str:
    if not path.is_file():
        return f"absent: `python -m emotion_pipeline weights get {path.name}`"
    try:
        return f"present: {check(path, record)}"
    except UserError as error:
        return f"wrong: {error}"


def _download(record: Weights, temporary: Path, path: Path) -> str:
    """Fetch what belongs at `path` into a temporary file, and check it there."""
    with _explained(record.address, path):
        _fetch(record.address, temporary, path.name)
    try:
        return check(temporary, record)
    except UserError as error:
        raise UserError(str(error).replace(str(temporary), record.address)) from error


def _fetch(address: str, temporary: Path, name: str) -> None:
    with urlopen(address, timeout=SECONDS) as response, open(temporary, "wb") as file:
        length = response.length  # None where the server does not say
        with tqdm(desc=name, total=length, unit="B", unit_scale=True) as bar:
            while chunk := response.read(CHUNK):
                file.write(chunk)
                bar.update(len(chunk))
        if length not in (None, file.tell()):
            raise UserError(f"{address}: broke off after {file.tell()} of {length} bytes; try again")


@contextmanager
def _explained(address: str, path: Path) -> Iterator[None]:
    """Turn what a connection can end in into UserError; a full disk stays what it is."""
    remedy = f"or put the file at {path} by hand"
    try:
        yield
    except HTTPError as error:
        raise UserError(f"{address}: the server answers {error.code} {error.reason}; try later, {remedy}") from error
    except (URLError, TimeoutError, ConnectionError, HTTPException) as error:
        reason = error.reason if isinstance(error, URLError) else error
        raise UserError(f"{address}: no connection ({reason}); see whether this machine is online, {remedy}") from error
