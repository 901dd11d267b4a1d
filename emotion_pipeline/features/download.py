"""The published files of weights on this machine: which are there, whether they are right, and getting one."""

import logging
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch

from emotion_pipeline.data.artifact import atomic
from emotion_pipeline.errors import UserError
from emotion_pipeline.features.c3d import C3D
from emotion_pipeline.features.network import FaceNetwork
from emotion_pipeline.features.vgg_face import VGGFace
from emotion_pipeline.features.weights import WEIGHTS, Weights, fitting, read_record
from emotion_pipeline.run.fingerprint import file_sha256
from emotion_pipeline.weights.fetch import fetch, state, verdict

log = logging.getLogger(__name__)

NETWORKS: dict[str, Callable[[int], FaceNetwork]] = {"vgg_face": VGGFace, "c3d": C3D}
"""Builders by name, to be called with the number of classes."""

SECTIONS = {"vgg_face": "finetune_vgg", "c3d": "finetune_c3d.weighted"}
"""The section of params.yaml that names a network's file."""


def listing(folder: Path) -> str:
    """What each network can start from, where it is published, under which licence, and what is in `folder`."""
    lines = []
    for network, section in SECTIONS.items():
        lines.append(f"{network}: one of these in `{section}.weights`")
        for name, record in WEIGHTS.items():
            if record.network == network:
                path = folder / network / name
                found = state(path, partial(check, path, record))
                lines += [f"  {path}", f"    {record.address}", f"    {record.licence}", f"    {found}"]
    return "\n".join(lines)


def get(name: str, folder: Path) -> Path:
    """Download a file of `WEIGHTS` to `folder/<network>/<name>`, unless it is there and right; returns its path.

    Raises UserError as `fetch`, and for an answer that is not the file: nothing is changed then.
    """
    record = WEIGHTS[name]
    path = folder / record.network / name
    found = verdict(path, partial(check, path, record))
    if found is None:
        log.info("%s: %s", record.address, record.licence)
        with atomic(path) as temporary:
            found = _download(record, temporary, path)
    log.info("%s: %s; `%s.weights: %s` uses it", path, found, SECTIONS[record.network], name)
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


def _download(record: Weights, temporary: Path, path: Path) -> str:
    """Fetch what belongs at `path` into a temporary file, and check it there."""
    fetch(record.address, temporary, path)
    try:
        return check(temporary, record)
    except UserError as error:
        raise UserError(str(error).replace(str(temporary), record.address)) from error
