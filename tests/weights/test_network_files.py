"""`python -m emotion_pipeline weights`, against a server on this machine and a narrow C3D in place of the real one."""

import socket
import sys
import threading
from dataclasses import replace
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
import torch

from emotion_pipeline.__main__ import main
from emotion_pipeline.errors import UserError
from emotion_pipeline.features import download
from emotion_pipeline.features.c3d import C3D
from emotion_pipeline.features.weights import WEIGHTS
from emotion_pipeline.run.fingerprint import file_sha256

W = 0.03
PICKLE = "c3d.pickle"
MMACTION = "c3d_sports1m_pretrain_20201016-dcc47ddc.pth"


class Server(BaseHTTPRequestHandler):
    """Serves `server.body` at /file and half of it at /half; counts in `server.asked`."""

    def do_GET(self):
        self.server.asked += 1
        if self.path not in ("/file", "/half"):
            self.send_error(404)
            return
        self.send_response(200)
        self.send_header("Content-Length", str(len(self.server.body)))
        self.end_headers()
        body = self.server.body
        self.wfile.write(body if self.path == "/file" else body[: len(body) // 2])

    def log_message(self, *_):
        pass


@pytest.fixture(scope="module")
def content(tmp_path_factory):
    path = tmp_path_factory.mktemp("content") / PICKLE
    torch.manual_seed(5)
    torch.save({k: v.contiguous() for k, v in C3D(487, W).state_dict().items()}, path)
    return path


@pytest.fixture
def server(content, monkeypatch):
    monkeypatch.setenv("no_proxy", "*")
    monkeypatch.setitem(download.NETWORKS, "c3d", partial(C3D, width=W))
    with ThreadingHTTPServer(("127.0.0.1", 0), Server) as server:
        server.body, server.asked = content.read_bytes(), 0
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield server
        server.shutdown()


@pytest.fixture
def published_at(server, monkeypatch):
    """Publish `c3d.pickle` at a path of the server, with a checksum or without."""

    def at(path, sha256=None):
        address = f"http://127.0.0.1:{server.server_port}/{path}"
        monkeypatch.setitem(WEIGHTS, PICKLE, replace(WEIGHTS[PICKLE], address=address, sha256=sha256))
        return address

    return at


def files_in(folder):
    return [path.name for path in folder.rglob("*") if path.is_file()]


@pytest.mark.parametrize("stated", [True, False])
def test_get_downloads_a_file_once(stated, published_at, server, content, tmp_path, caplog, capsys):
    sha256 = file_sha256(content)
    caplog.set_level("INFO")
    published_at("file", sha256 if stated else None)
    path = download.get(PICKLE, tmp_path)
    assert path == tmp_path / "c3d" / PICKLE
    assert path.read_bytes() == content.read_bytes()
    assert files_in(tmp_path) == [PICKLE]
    assert f"({sha256}...)" in caplog.text if stated else f"this file's is {sha256}" in caplog.text
    assert "`finetune_c3d.weighted.weights: c3d.pickle` uses it" in caplog.text
    assert f"{PICKLE}: 100%" in capsys.readouterr().err
    download.get(PICKLE, tmp_path)
    assert server.asked == 1


def test_get_replaces_a_wrong_file(published_at, server, content, tmp_path, caplog):
    caplog.set_level("INFO")
    published_at("file", file_sha256(content)[:8])
    (tmp_path / "c3d").mkdir()
    (tmp_path / "c3d" / PICKLE).write_bytes(b"half a file")
    download.get(PICKLE, tmp_path)
    assert (tmp_path / "c3d" / PICKLE).read_bytes() == content.read_bytes()
    assert "expected a SHA-256 that begins with" in caplog.text


@pytest.fixture(params=["Connection refused", "timed out"])
def unanswered(request, monkeypatch):
    """Publish `c3d.pickle` where nothing listens, or something that accepts and keeps silent."""
    monkeypatch.setenv("no_proxy", "*")
    monkeypatch.setattr("emotion_pipeline.weights.fetch.SECONDS", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"http://127.0.0.1:{silent.getsockname()[1]}/file"
        monkeypatch.setitem(WEIGHTS, PICKLE, replace(WEIGHTS[PICKLE], address=address))
        if request.param == "Connection refused":
            silent.close()
        yield request.param


@pytest.mark.parametrize(
    ("path", "sha256", "body", "message"),
    [
        ("file", "0123abcd", None, r"/file: expected a SHA-256 that begins with 0123abcd, as published, found \w{64};"),
        ("half", None, None, r"/half: broke off after \d+ of \d+ bytes; try again"),
        (
            "gone",
            None,
            None,
            r"/gone: the server answers 404 Not Found; try later, or put the file at .*c3d\.pickle by",
        ),
        ("file", None, b"<html>", r"/file: not a PyTorch file of tensors"),
    ],
)
def test_a_failed_download_says_why_and_leaves_nothing(path, sha256, body, message, published_at, server, tmp_path):
    server.body = body or server.body
    published_at(path, sha256)
    with pytest.raises(UserError, match=r"^http://127\.0\.0\.1:\d+" + message):
        download.get(PICKLE, tmp_path)
    assert files_in(tmp_path) == []


def test_without_a_connection_the_file_can_be_put_there_by_hand(unanswered, tmp_path):
    message = (
        rf"/file: no connection \(.*{unanswered}\); see whether this machine is online, or put the file at .* by h"
    )
    with pytest.raises(UserError, match=message):
        download.get(PICKLE, tmp_path)
    assert files_in(tmp_path) == []


def run(monkeypatch, folder, *arguments):
    """The command line in a folder; it logs into `caplog`."""
    monkeypatch.chdir(folder)
    monkeypatch.setattr(sys, "argv", ["emotion_pipeline", *arguments])
    monkeypatch.setattr("logging.basicConfig", lambda **_: None)
    main()


def test_an_unknown_name_is_answered_with_the_known_ones(monkeypatch, tmp_path):
    with pytest.raises(
        SystemExit, match=r"^ERROR: VGG_FACE\.t7: no published file of this name is known; there are vgg"
    ):
        run(monkeypatch, tmp_path, "weights", "get", "VGG_FACE.t7")


def test_the_listing_says_what_is_there_and_what_is_right(server, content, monkeypatch, caplog, tmp_path):
    caplog.set_level("INFO")
    for name in (PICKLE, MMACTION):
        path = tmp_path / "data/weights/c3d" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.read_bytes())
    run(monkeypatch, tmp_path, "weights")
    lines = [line.strip() for line in caplog.messages[0].splitlines()]
    assert "vgg_face: one of these in `finetune_vgg.weights`" in lines
    assert "absent: `python -m emotion_pipeline weights get vgg_face_dag.pth`" in lines
    after = {name: lines[lines.index(f"data/weights/c3d/{name}") :] for name in (PICKLE, MMACTION)}
    assert after[PICKLE][1:3] == [WEIGHTS[PICKLE].address, WEIGHTS[PICKLE].licence]
    assert after[PICKLE][3].startswith("present: the layers of c3d; no SHA-256 is published to compare with; ")
    assert after[PICKLE][3].endswith(file_sha256(content))
    assert after[MMACTION][3].startswith("wrong: ")
    assert "begins with dcc47ddc, as published, found" in after[MMACTION][3]
    assert sum(line.startswith(("absent", "present", "wrong")) for line in lines) == len(WEIGHTS)


def test_a_file_of_another_shape_is_listed_as_wrong(content, tmp_path):
    (tmp_path / "c3d").mkdir()
    (tmp_path / "c3d" / PICKLE).write_bytes(content.read_bytes())
    assert "wrong: " in (text := download.listing(tmp_path))
    assert r"layer conv1.weight: expected (64, 3, 3, 3, 3) for c3d at width 1, found (2, 3, 3, 3, 3)" in text
