"""DVC remotes on this machine: a folder, an SSH server, an S3-compatible server; with the bytes that go to and fro."""

import getpass
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from tests.attacks.relay import Relay

MOTO = "moto[server]==5.2.1"
"""The S3-compatible server: has its own virtual environment, since its needs do not go together with the project's."""


@dataclass
class Remote:
    """`settings` are lines for `dvc remote modify --local`."""

    kind: str
    url: str
    settings: tuple[tuple[str, str], ...] = ()
    relay: Relay | None = None
    folder: Path | None = None

    def bytes_passed(self) -> tuple[int, int]:
        """Sent to it and received from it so far; of a folder only what it holds is known."""
        if self.relay:
            return self.relay.sent, self.relay.received
        return (size_of(self.folder), 0) if self.folder else (0, 0)


def size_of(folder: Path) -> int:
    """Bytes of all files below a folder."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


@contextmanager
def folder_remote(folder: Path) -> Iterator[Remote]:
    (folder / "remote").mkdir(parents=True)
    yield Remote("folder", str(folder / "remote"), folder=folder / "remote")


@contextmanager
def ssh_remote(folder: Path) -> Iterator[Remote]:
    """OpenSSH's server with keys and settings of its own, for the present user."""
    _require("dvc_ssh", "pip install 'dvc[ssh]'")
    sshd = shutil.which("sshd") or shutil.which("/usr/sbin/sshd")
    if sshd is None:
        raise RuntimeError("sshd: no such program; apt-get install openssh-server (nothing was tried over SSH)")
    folder.mkdir(parents=True)
    (folder / "remote").mkdir()
    for name in ("host", "user"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", folder / name], check=True)
    shutil.copyfile(folder / "user.pub", folder / "authorized")
    if os.getuid() == 0:
        Path("/run/sshd").mkdir(exist_ok=True)
    lines = (
        *("ListenAddress 127.0.0.1", f"HostKey {folder}/host", f"AuthorizedKeysFile {folder}/authorized"),
        *("PermitRootLogin yes", "StrictModes no", "PasswordAuthentication no", "PidFile none"),
        "Subsystem sftp internal-sftp",
    )
    (folder / "config").write_text("\n".join(lines) + "\n")
    port = _free_port()
    with _serving([sshd, "-D", "-e", "-p", str(port), "-f", str(folder / "config")], port, folder / "log"):
        relay = Relay(port)
        settings = (("port", str(relay.port)), ("user", getpass.getuser()), ("keyfile", str(folder / "user")))
        yield Remote("ssh", f"ssh://127.0.0.1{folder}/remote", settings, relay)
        relay.close()


@contextmanager
def s3_remote(folder: Path) -> Iterator[Remote]:
    """Moto's server, which keeps everything in memory."""
    _require("dvc_s3", "pip install 'dvc[s3]'")
    subprocess.run([sys.executable, "-m", "venv", folder / "venv"], check=True)
    install = subprocess.run(
        [folder / "venv/bin/python", "-m", "pip", "install", "--quiet", MOTO],
        capture_output=True,
        text=True,
        check=False,
    )
    if install.returncode:
        raise RuntimeError(f"pip install {MOTO!r} failed (nothing was tried over S3): {install.stderr[-500:]}")
    port = _free_port()
    command = [str(folder / "venv/bin/moto_server"), "-H", "127.0.0.1", "-p", str(port)]
    with _serving(command, port, folder / "log"):
        bucket = urllib.request.Request(f"http://127.0.0.1:{port}/team", method="PUT")
        urllib.request.urlopen(bucket).close()
        relay = Relay(port)
        settings = (
            *(("endpointurl", f"http://127.0.0.1:{relay.port}"), ("region", "us-east-1")),
            *(("access_key_id", "any"), ("secret_access_key", "any")),
        )
        yield Remote("s3", "s3://team/cache", settings, relay)
        relay.close()


def _require(module: str, remedy: str) -> None:
    if find_spec(module) is None:
        raise RuntimeError(f"{module}: not installed; {remedy}")


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


@contextmanager
def _serving(command: list[str], port: int, log: Path) -> Iterator[None]:
    """Run a server until the end of the block, which begins when it answers."""
    with open(log, "w") as file, subprocess.Popen(command, stdout=file, stderr=file) as server:
        try:
            for _ in range(300):
                try:
                    socket.create_connection(("127.0.0.1", port), timeout=1).close()
                    break
                except OSError:
                    time.sleep(0.1)
            else:
                raise RuntimeError(f"{command[0]}: does not answer; {log.read_text()[-500:]}")
            yield
        finally:
            server.terminate()


REMOTES = {"folder": folder_remote, "ssh": ssh_remote, "s3": s3_remote}
