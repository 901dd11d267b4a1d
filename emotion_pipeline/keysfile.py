"""`data/keys/<stage>.json`: the keys of a stage's results, and the code and versions of libraries that are in them.

No stage depends on these files: they are for reuse, `prune`, `status` and `explain`.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from emotion_pipeline.clips import UserError
from emotion_pipeline.fingerprint import code_fingerprint, library_versions


def keys_file_of(out: Path) -> Path:
    """Of a stage that one of several is, with the folder data/<stage>/<name>: data/keys/<stage>/<name>.json."""
    return out.parents[1] / "keys" / out.parent.name / f"{out.name}.json"


def note_keys(keys_file: Path, module: str, keys: Mapping[str, str]) -> None:
    """Write the file of a stage whose numbers are made by the code behind `module`."""
    keys_file.parent.mkdir(parents=True, exist_ok=True)
    made_by = {"code": code_fingerprint(module), "versions": library_versions(module)}
    text = json.dumps({"made_by": made_by, "keys": keys}, indent=0, sort_keys=True)
    keys_file.write_text(text, encoding="utf-8")


def keys_in(noted: Any) -> dict[str, str]:
    """The keys in what `note_keys` wrote; none where it is not that."""
    return dict(noted["keys"]) if isinstance(noted, dict) and "keys" in noted else {}


def read_keys(keys_file: Path) -> dict[str, str]:
    """The keys in a file; none where there is no such file. Raises UserError where it is damaged."""
    if not keys_file.exists():
        return {}
    try:
        return keys_in(json.loads(keys_file.read_text(encoding="utf-8")))
    except (OSError, ValueError) as error:
        raise UserError(f"{keys_file}: damaged ({error}); `dvc checkout --force {keys_file}`") from error
