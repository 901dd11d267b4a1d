"""What a run has left in a clone: finished results, damaged ones, checkpoints."""

import hashlib
import os
import re
from pathlib import Path

import torch

States = dict[str, tuple[int, int]]
"""By path in the store: inode and time of the last change of a finished result."""


def files_of(clone: Path) -> set[tuple[str, int, int, int]]:
    """Path, inode, size and time of every file."""
    found = set()
    for path in clone.rglob("*"):
        try:
            state = path.lstat()
        except FileNotFoundError:
            continue
        found.add((str(path), state.st_ino, state.st_size, state.st_mtime_ns))
    return found


def finished(clone: Path, store: str = ".cache") -> States:
    """Every result in the store that counts as one."""
    results = [p for p in (clone / store).rglob("*") if p.with_suffix(".sha256").is_file() and p.suffix != ".sha256"]
    return {os.path.relpath(p, clone): (p.stat().st_ino, p.stat().st_mtime_ns) for p in results if ".tmp" not in str(p)}


def damaged(clone: Path, store: str = ".cache") -> list[str]:
    """Results whose hash is wrong, and outputs that are no finished result."""
    hashes = {}
    for name in finished(clone, store):
        hashes[name] = _sha256(clone / name)
    bad = [n for n, sha256 in hashes.items() if (clone / n).with_suffix(".sha256").read_text() != sha256]
    outputs = [
        path
        for path in (clone / "data").rglob("*")
        if path.suffix in {".h5", ".safetensors"} and not path.name.startswith(".")
        if path.relative_to(clone / "data").parts[0] not in {"raw", "weights"}
    ]
    known = set(hashes.values())
    bad += [str(path.relative_to(clone)) for path in outputs if _sha256(path) not in known]
    return [f"{name}: damaged" for name in bad]


def started_epochs(clone: Path) -> dict[str, int]:
    """Key of a training that is not finished -> the epochs that its checkpoint has."""
    done = {Path(name).stem for name in finished(clone)}
    checkpoints = [path for path in (clone / ".cache/checkpoints").glob("[!.]*") if path.name not in done]
    return {p.name: len(torch.load(p, map_location="cpu", weights_only=True)["progress"][0]) for p in checkpoints}


def trained_again(clone: Path, before: dict[str, int], output: str) -> list[str]:
    """Epochs that were in a checkpoint and that the run with this output has trained again."""
    now = started_epochs(clone)
    going_on = {key: int(n) for n, key in re.findall(r"goes on after epoch (\d+) \(\S*/checkpoints/(\w+)\)", output)}
    return [
        f"training {key}: {epochs} epochs were done, gone on from {going_on.get(key, 0)}"
        for key, epochs in before.items()
        if going_on.get(key) != epochs and now.get(key, 0) < epochs
    ]


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
