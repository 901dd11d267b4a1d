"""Fetching a published file and saying why it cannot be had; whether the one that is here is right."""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.client import HTTPException
from pathlib import Path
from urllib.error import HTTPError, URLError
from urllib.request import urlopen

from tqdm import tqdm

from emotion_pipeline.errors import UserError
from emotion_pipeline.run.fingerprint import file_sha256

log = logging.getLogger(__name__)

Check = Callable[[], str]
"""In what respect a file is right, in words; raises UserError where it is not."""

SECONDS = 30
"""How long a server may keep silent."""

CHUNK = 1 << 20
"""Bytes read at a time."""


def fetch(address: str, temporary: Path, path: Path) -> None:
    """Download what belongs at `path` into the file `temporary`, with a progress bar.

    Raises UserError without a connection, for an answer that is not the file, or not all of it; an OSError of the disk
    stays what it is.
    """
    with _explained(address, path), urlopen(address, timeout=SECONDS) as response, open(temporary, "wb") as file:
        length = response.length  # None where the server does not say
        with tqdm(desc=path.name, total=length, unit="B", unit_scale=True) as bar:
            while chunk := response.read(CHUNK):
                file.write(chunk)
                bar.update(len(chunk))
        if length not in (None, file.tell()):
            raise UserError(f"{address}: broke off after {file.tell()} of {length} bytes; try again")


def verdict(path: Path, check: Check) -> str | None:
    """What `check` says of the file; None where it is absent or, which is then logged, wrong."""
    try:
        return check() if path.is_file() else None
    except UserError as error:
        log.info("%s", error)
        return None


def state(path: Path, check: Check) -> str:
    """A line for a listing: absent and how to get the file, what `check` says of it, or what is wrong with it."""
    if not path.is_file():
        return f"absent: `python -m emotion_pipeline weights get {path.name}`"
    try:
        return f"present: {check()}"
    except UserError as error:
        return f"wrong: {error}"


def require_sha256(file: Path, expected: str, source: Path | str, remedy: str) -> None:
    """Raise UserError naming `source` where the file's SHA-256 does not begin with `expected`."""
    if not (found := file_sha256(file)).startswith(expected):
        raise UserError(
            f"{source}: expected a SHA-256 that begins with {expected}, as published, found {found}; {remedy}"
        )


@contextmanager
def _explained(address: str, path: Path) -> Iterator[None]:
    remedy = f"or put the file at {path} by hand"
    try:
        yield
    except HTTPError as error:
        raise UserError(f"{address}: the server answers {error.code} {error.reason}; try later, {remedy}") from error
    except (URLError, TimeoutError, ConnectionError, HTTPException) as error:
        reason = error.reason if isinstance(error, URLError) else error
        raise UserError(f"{address}: no connection ({reason}); see whether this machine is online, {remedy}") from error
