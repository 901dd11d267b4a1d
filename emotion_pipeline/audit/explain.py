"""From a file or a number of the report back to what made it: stages, parameters, code, versions, weights, clips."""

import json
import subprocess
from collections import Counter
from collections.abc import Iterable, Mapping
from graphlib import TopologicalSorter
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from emotion_pipeline.audit.stages import read_lock
from emotion_pipeline.audit.verify import md5_of, recorded_files
from emotion_pipeline.data.manifest import SPLITS, read_manifest
from emotion_pipeline.errors import UserError
from emotion_pipeline.report.sources import KINDS
from emotion_pipeline.run.disk import dvc_cache
from emotion_pipeline.run.fingerprint import file_sha256
from emotion_pipeline.run.keys import read_made_by


def explain(path: Path, number: str = "") -> dict[str, Any]:
    """Return what made a file that a stage wrote; of metrics.json also one number: `fusion.submission_3.test.accuracy`.

    Where the file is no longer as the stage wrote it, `as_in_dvc_lock` is false. Raises UserError where no stage writes
    the file, or it has no such number.
    """
    lock = read_lock()
    writers = {Path(out["path"]): name for name, record in lock.items() for out in record.get("outs", [])}
    written = next((place for place in (path, *path.parents) if place in writers), None)
    if written is None:
        raise UserError(f"{path}: no stage in dvc.lock writes this file; name one of reports/ or data/")
    stage = writers[written]
    result: dict[str, Any] = {"file": str(path), "sha256": file_sha256(path) if path.is_file() else None}
    result |= {"as_in_dvc_lock": _as_recorded(path, lock[stage]), "commit": _commit()}
    if number:
        result |= {"number": number, "value": _value(path, number)}
        trained = _trained_by(number, lock)
        names = [*_behind(trained, lock, writers), stage] if trained else _behind(stage, lock, writers)
    else:
        names = _behind(stage, lock, writers)
    stages = {name: _stage(lock[name]) for name in reversed(names)}
    return result | {"clips": _clips(), "weights": _weights(stages.values()), "stages": stages}


def _behind(stage: str, lock: Mapping[str, Any], writers: Mapping[Path, str]) -> list[str]:
    """All stages whose outputs it is made from, directly or not, and itself: each after those that it reads from."""
    before: dict[str, set[str]] = {}
    waiting = [stage]
    while waiting:
        name = waiting.pop()
        if name not in before:
            deps = [Path(dep["path"]) for dep in lock[name].get("deps", [])]
            before[name] = {writer for out, writer in writers.items() if any(_overlap(dep, out) for dep in deps)}
            waiting += before[name]
    return list(TopologicalSorter(before).static_order())


def _overlap(a: Path, b: Path) -> bool:
    return a == b or a in b.parents or b in a.parents


def _value(path: Path, number: str) -> Any:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
        for key in number.split("."):
            value = value[key]
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: cannot be read as JSON ({error}); a number can be named for metrics.json") from error
    except (KeyError, TypeError):
        raise UserError(f"{path}: has no number {number!r}; name one as fusion.submission_3.test.accuracy") from None
    return value


def _trained_by(number: str, lock: Mapping[str, Any]) -> str:
    kind, _, rest = number.partition(".")
    stage = f"{KINDS.get(kind, '')}@{rest.partition('.')[0]}"
    return stage if stage in lock else ""


def _stage(record: Mapping[str, Any]) -> dict[str, Any]:
    """What dvc.lock and the stage's keys file say."""
    paths = (Path(out["path"]) for out in record.get("outs", []))
    keys_files = [path for path in paths if path.is_relative_to("data/keys")]
    made_by = read_made_by(keys_files[0]) if keys_files else {}
    deps = {dep["path"]: dep["md5"] for dep in record.get("deps", []) if "md5" in dep}
    code = {path: md5 for path, md5 in deps.items() if path.startswith(("emotion_pipeline", "stages"))}
    data = {path: md5 for path, md5 in deps.items() if path not in code}
    params = {k: v for file in record.get("params", {}).values() for k, v in file.items()}
    outs = {out["path"]: out["md5"] for out in record.get("outs", []) if "md5" in out}
    return {"command": record["cmd"], "params": params, "made_by": made_by, "data": data, "code": code, "outs": outs}


def _clips() -> dict[str, Any]:
    """The manifest, which has the SHA-256 of every clip, and how many clips there are."""
    file = Path("data/ingest/clips.csv")
    if not file.is_file():
        return {"manifest": f"{file}: not here; `dvc pull data/ingest`"}
    counts = Counter(clip.split or "none" for clip in read_manifest(file))
    return {"manifest": str(file), "sha256": file_sha256(file)} | {s: counts[s] for s in (*SPLITS, "none") if counts[s]}


def _weights(stages: Iterable[Mapping[str, Any]]) -> dict[str, str]:
    """Published weights that stages here start from: SHA-256 by file."""
    found: dict[str, str] = {}
    for stage in stages:
        for section in stage["params"].values():
            file = section.get("weights") if isinstance(section, dict) else None
            if isinstance(file, str):
                found |= {str(p): file_sha256(p) for p in sorted(Path("data/weights").rglob(Path(file).name))}
    return found


def _as_recorded(path: Path, record: Mapping[str, Any]) -> bool:
    """Whether a file or folder is what the stage wrote."""
    cache = dvc_cache()
    files = [file for out in record["outs"] for file in recorded_files(cache, Path(out["path"]), out["md5"])]
    own = [(file, md5) for file, md5 in files if file.is_relative_to(path)]
    return bool(own) and all(file.is_file() and md5_of(file) == md5 for file, md5 in own)


def _commit() -> str:
    """The commit that recorded dvc.lock as it is; empty where it has changes that no commit has."""
    dirty = subprocess.run(["git", "status", "--porcelain", "dvc.lock"], capture_output=True, text=True, check=False)
    if dirty.returncode or dirty.stdout.strip():
        return ""
    log = ["git", "log", "-1", "--format=%H", "--", "dvc.lock"]
    return subprocess.run(log, capture_output=True, text=True, check=False).stdout.strip()


def as_text(result: Mapping[str, Any]) -> str:
    """For people."""
    lines = [f"{result['file']}" + (f": {result['number']} = {result['value']}" if "number" in result else "")]
    if not result["as_in_dvc_lock"]:
        lines.append("CHANGED since the stage wrote it: what follows explains another file; run `dvc repro`")
    lines.append(f"commit of dvc.lock: {result['commit'] or 'none: dvc.lock has changes that are not committed'}")
    lines.append("answer for every clip: reports/predictions.csv")
    lines.append("clips: " + ", ".join(f"{key} {value}" for key, value in result["clips"].items()))
    weights = [f"{file} (sha256 {sha})" for file, sha in result["weights"].items()]
    lines.append("published weights: " + (", ".join(weights) or "none"))
    lines.append("stages, the last first (all of it, with the hash of every file: --json):")
    for name, stage in result["stages"].items():
        lines += ["", f"{name}: {stage['command'].removeprefix('exec ')}"]
        lines += [f"  {key}: {json.dumps(value)}" for key, value in stage["params"].items()]
        if stage["made_by"]:
            lines.append(f"  code {stage['made_by']['code'][:16]}; {_versions(stage['made_by']['versions'])}")
    return "\n".join(lines)


def _versions(versions: Mapping[str, str]) -> str:
    return ", ".join(f"{name} {made}{_here(name, made)}" for name, made in sorted(versions.items()))


def _here(package: str, made: str) -> str:
    """Empty, or which version is installed instead."""
    try:
        own = version(package).split("+")[0]
    except PackageNotFoundError:
        return " (not installed here)"
    return "" if own == made else f" (here: {own})"
