"""The command `explain`: what made a file or a number. Stages, parameters, code, versions, weights, clips."""

import json
import subprocess
from collections import ChainMap, Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from difflib import get_close_matches
from functools import partial
from graphlib import TopologicalSorter
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from textwrap import fill
from typing import Any

from emotion_pipeline.audit.verify import md5_of
from emotion_pipeline.data.manifest import SPLITS, read_manifest
from emotion_pipeline.errors import UserError
from emotion_pipeline.report.sources import KINDS
from emotion_pipeline.run.disk import dvc_cache
from emotion_pipeline.run.dvclock import read_lock
from emotion_pipeline.run.fingerprint import file_sha256
from emotion_pipeline.run.keys import read_noted
from emotion_pipeline.run.store import recorded_files


def explain(path: Path, number: str = "") -> dict[str, Any]:
    """Return what made a file that a stage wrote; of metrics.json also one number: `fusion.submission_3.test.accuracy`.

    Where the file is no longer as the stage wrote it, `as_in_dvc_lock` is false. Raises UserError where no stage writes
    the file, or it has no such number.
    """
    lock = read_lock()
    outs = {Path(out["path"]): name for name, record in lock.items() for out in record.get("outs", [])}
    stage = next((outs[place] for place in (path, *path.parents) if place in outs), None)
    if stage is None:
        raise UserError(f"{path}: no stage in dvc.lock writes this file; name one of reports/ or data/")
    sha256 = file_sha256(path) if path.is_file() else None
    as_recorded, source = _as_recorded(path, lock[stage]["outs"]), stage
    result = {"file": str(path), "sha256": sha256, "as_in_dvc_lock": as_recorded, "commit": _commit()}
    if number:
        result |= {"number": number, "value": _value(path, number)}
        kind, _, rest = number.partition(".")
        trained = f"{KINDS.get(kind)}@{rest.partition('.')[0]}"
        source = trained if trained in lock else stage
    stages = {name: _stage(lock[name]) for name in dict.fromkeys([stage, *_behind(source, lock, outs)])}
    return result | {"clips": _clips(), "weights": _weights(stages.values()), "stages": stages}


def _behind(stage: str, lock: Mapping[str, Any], outs: Mapping[Path, str]) -> list[str]:
    """Return the stages that one is made from, directly or not, and itself: each before those that it reads from."""
    before: dict[str, list[str]] = {}
    waiting = [stage]
    while waiting:
        name = waiting.pop()
        deps = [Path(dep["path"]) for dep in lock[name].get("deps", [])]
        read = [out for out in outs for dep in deps if dep.is_relative_to(out) or out.is_relative_to(dep)]
        before[name] = sorted(_read_by(lock[name], {outs[out] for out in read}))
        waiting += [writer for writer in before[name] if writer not in before]
    return [*TopologicalSorter(before).static_order()][::-1]


def _read_by(record: Mapping[str, Any], stages: set[str]) -> set[str]:
    """Return the stages without the temporal models that a fusion does not name: its dep is the folder of all."""
    sections = [section for file in record.get("params", {}).values() for section in file.values()]
    named = [section["models"] for section in sections if isinstance(section, dict) and "models" in section]
    if not named:
        return stages
    models = {f"train_temporal@{model}" for model in named[0]}
    return {stage for stage in stages if stage in models or not stage.startswith("train_temporal@")}


def _value(path: Path, number: str) -> Any:
    """Return a number of a JSON file. Raises UserError where it has none of this name, with the names that are near."""
    try:
        values = _named(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: cannot be read as JSON ({error}); a number can be named for metrics.json") from error
    if number not in values:
        names = [name for name, value in values.items() if not isinstance(value, dict)]
        near = ", ".join(get_close_matches(number, names, 5)) or "fusion.submission_3.test.accuracy"
        raise UserError(f"{path}: has no number {number!r}; name one as {near}")
    return values[number]


def _named(value: Any, name: str = "") -> dict[str, Any]:
    """Return a JSON value and all that is in it, by dotted name."""
    inner = value.items() if isinstance(value, dict) else ()
    return {name: value} | {k: v for key, part in inner for k, v in _named(part, f"{name}.{key}".lstrip(".")).items()}


def _stage(record: Mapping[str, Any]) -> dict[str, Any]:
    """Return what dvc.lock and the stage's file of keys say."""
    deps, outs = ({row["path"]: row["md5"] for row in record.get(k, []) if "md5" in row} for k in ("deps", "outs"))
    keys_file = next((path for path in outs if path.startswith("data/keys/")), "")
    code = {path: md5 for path, md5 in deps.items() if path.startswith(("emotion_pipeline", "stages"))}
    return {
        "command": record["cmd"],
        "params": {key: value for file in record.get("params", {}).values() for key, value in file.items()},
        "made_by": read_noted(Path(keys_file), "made_by") if keys_file else {},
        "data": {path: md5 for path, md5 in deps.items() if path not in code},
        "code": code,
        "outs": outs,
    }


def _clips() -> dict[str, Any]:
    """Return the manifest, which has the SHA-256 of every clip, and the number of clips in each split."""
    file = Path("data/ingest/clips.csv")
    if not file.is_file():
        return {"manifest": f"{file}: not here; `dvc pull data/ingest`"}
    counts = Counter(clip.split or "none" for clip in read_manifest(file))
    return {"manifest": str(file), "sha256": file_sha256(file)} | {s: counts[s] for s in (*SPLITS, "none") if counts[s]}


def _weights(stages: Iterable[Mapping[str, Any]]) -> dict[str, str]:
    """Return the SHA-256 of the published weights that stages start from, by file."""
    sections = [section for stage in stages for section in stage["params"].values() if isinstance(section, dict)]
    names = [Path(section["weights"]).name for section in sections if isinstance(section.get("weights"), str)]
    return {str(file): file_sha256(file) for name in names for file in sorted(Path("data/weights").rglob(name))}


def _as_recorded(path: Path, outs: Iterable[Mapping[str, str]]) -> bool:
    """Return whether a file or folder is as the stage with these outputs wrote it."""
    files = ChainMap(*(recorded_files(dvc_cache(), out["path"], out["md5"]) for out in outs))
    own = {Path(name): md5 for name, md5 in files.items() if Path(name).is_relative_to(path)}
    return bool(own) and all(file.is_file() and md5_of(file) == md5 for file, md5 in own.items())


def _commit() -> str:
    """Return the commit that recorded dvc.lock as it is; empty where it has changes that no commit has."""
    status, log = (
        subprocess.run(["git", *words, "dvc.lock"], capture_output=True, text=True, check=False)
        for words in (["status", "--porcelain"], ["log", "-1", "--format=%H", "--"])
    )
    return "" if status.returncode or status.stdout.strip() else log.stdout.strip()


def as_text(result: Mapping[str, Any]) -> str:
    """Return the result as lines to read."""
    lines = [result["file"] + (f": {result['number']} = {result['value']}" if "number" in result else "")]
    if not result["as_in_dvc_lock"]:
        lines.append("CHANGED since the stage wrote it: what follows explains another file; run `dvc repro`")
    weights = [f"{path} (sha256 {sha256})" for path, sha256 in result["weights"].items()]
    lines += [
        f"commit of dvc.lock: {result['commit'] or 'none: dvc.lock has changes that are not committed'}",
        "answer for every clip: reports/predictions.csv",
        "clips: " + ", ".join(f"{key} {value}" for key, value in result["clips"].items()),
        "published weights: " + (", ".join(weights) or "none"),
        "stages, the last first (all of it, with the hash of every file: --json):",
    ]
    for name, stage in result["stages"].items():
        lines += ["", f"{name}: {stage['command'].removeprefix('exec ')}"]
        lines += [_wrapped(f"{key}: {json.dumps(value)}") for key, value in _entries(stage["params"])]
        if stage["made_by"]:
            code, versions = stage["made_by"]["code"], sorted(stage["made_by"]["versions"].items())
            lines.append(_wrapped(f"code {code[:16]}; " + ", ".join(f"{n} {v}{_here(n, v)}" for n, v in versions)))
    return "\n".join(lines)


_wrapped = partial(fill, width=118, initial_indent="  ", subsequent_indent=6 * " ", break_on_hyphens=False)


def _entries(section: Mapping[str, Any], name: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the parameters by dotted name, those of one model or network together."""
    for key, value in section.items():
        if isinstance(value, dict) and any(isinstance(part, dict) for part in value.values()):
            yield from _entries(value, f"{name}{key}.")
        else:
            yield f"{name}{key}", value


def _here(package: str, made: str) -> str:
    """Return which version of a package is installed instead; empty where it is the same."""
    with suppress(PackageNotFoundError):
        own = version(package).split("+")[0]
        return "" if own == made else f" (here: {own})"
    return " (not installed here)"
