"""`data/keys/<stage>.json`: the keys of a stage's results, their SHA-256, and the code and libraries that made them.

No stage depends on these files: they are for reuse, for noticing damage, for `prune`, `status` and `explain`.
"""

import functools
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from emotion_pipeline.errors import UserError
from emotion_pipeline.run.fingerprint import code_fingerprint, file_sha256, library_versions


def keys_of_stage(out: Path) -> Path:
    """The file of the stage with the folder data/<stage>."""
    return out.parent / "keys" / f"{out.name}.json"


def keys_of_named(out: Path) -> Path:
    """The file of a stage that is one of several, with the folder data/<stage>/<name>."""
    return out.parent.parent / "keys" / out.parent.name / f"{out.name}.json"


def note_keys(keys_file: Path, module: str, keys: Mapping[str, str], sha256: Mapping[str, str]) -> None:
    """Write the file of a stage whose numbers are made by the code behind `module`.

    `sha256` is that of the stage's files, by path in its folder.
    """
    keys_file.parent.mkdir(parents=True, exist_ok=True)
    made_by = {"code": code_fingerprint(module), "versions": library_versions(module)}
    whole = {"made_by": made_by, "keys": keys, "sha256": sha256}
    keys_file.write_text(json.dumps(whole, indent=0, sort_keys=True), encoding="utf-8")


def hashes_of(out: Path) -> dict[str, str]:
    """SHA-256 of every file of a folder, by path in it."""
    files = sorted(path for path in out.rglob("*") if path.is_file())
    return {path.relative_to(out).as_posix(): file_sha256(path) for path in files}


def keys_in(noted: Any) -> dict[str, str]:
    """The keys in what `note_keys` wrote; none where it is not that."""
    return dict(noted["keys"]) if isinstance(noted, dict) and "keys" in noted else {}


def read_keys(keys_file: Path) -> dict[str, str]:
    """The keys in a file; none where there is no such file. Raises UserError where it is damaged."""
    return keys_in(_read(keys_file))


def read_made_by(keys_file: Path) -> dict[str, Any]:
    """The code and the versions of libraries in a file; nothing, or UserError, as `read_keys`."""
    noted = _read(keys_file)
    return dict(noted.get("made_by", {})) if isinstance(noted, dict) else {}


def _read(keys_file: Path) -> Any:
    if not keys_file.exists():
        return {}
    try:
        return json.loads(keys_file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"{keys_file}: damaged ({error}); `dvc checkout --force {keys_file}`") from error


def input_sha256(path: Path) -> str:
    """SHA-256 of a file that a stage reads.

    Raises UserError where an earlier stage wrote it with other bytes: so no damaged file is ever taken for data.
    """
    found = file_sha256(path)
    for out in path.absolute().parents[:6]:
        for keys_file in filter(Path.is_file, (keys_of_stage(out), keys_of_named(out))):
            name = path.absolute().relative_to(out).as_posix()
            if _hashes(keys_file, keys_file.stat().st_mtime_ns).get(name, found) != found:
                raise UserError(
                    f"{path}: damaged, or changed by hand (its bytes are not those that {keys_file} names);"
                    " `python -m emotion_pipeline verify --remove`, then `dvc repro`"
                )
    return found


@functools.lru_cache(maxsize=8)
def _hashes(keys_file: Path, _changed: int) -> dict[str, str]:
    noted = _read(keys_file)
    return dict(noted.get("sha256", {})) if isinstance(noted, dict) else {}
