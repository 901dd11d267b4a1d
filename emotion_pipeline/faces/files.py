"""The files that detectors and landmark predictors read: inside installed packages, or in data/weights/faces."""

import importlib.util
from pathlib import Path

from emotion_pipeline.clips import UserError


def package_file(package: str, *parts: str) -> Path:
    """A file inside an installed package, which is not imported. Raises UserError where it is not installed."""
    found = importlib.util.find_spec(package)
    if found is None or found.origin is None:
        name = package.replace("_", "-")
        raise UserError(f"{'/'.join(parts)}: is in the package {name}, which is not installed: pip install {name}")
    return Path(found.origin).parent.joinpath(*parts)
