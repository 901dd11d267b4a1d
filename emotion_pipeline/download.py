"""Fetching a published file, and saying why it cannot be had."""

from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPException
from pathlib import Path
from urllib.error import HTTPError, URLError
from urllib.request import urlopen

from tqdm import tqdm

from emotion_pipeline.clips import UserError

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
