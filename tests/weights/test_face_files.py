"""Published files of detectors and predictors, against a server on this machine."""

import hashlib
import sys
import threading
from dataclasses import replace
from http.server import ThreadingHTTPServer
from pathlib import Path

import pytest

from emotion_pipeline.__main__ import main
from emotion_pipeline.errors import UserError
from emotion_pipeline.faces.detect import DETECTORS
from emotion_pipeline.faces.landmarks import PREDICTORS
from emotion_pipeline.weights.face_files import PUBLISHED, files_of, get, package_file, published_file
from tests.features.test_download import Server

NAME = "blazeface.pth"
PLACE = Path("data/weights/faces", NAME)
BODY = b"\x80weights"
SHA256 = hashlib.sha256(BODY).hexdigest()


@pytest.fixture
def server(monkeypatch, tmp_path):
    """An empty repository, nothing in face-alignment's cache, and a server that has the file."""
    monkeypatch.setenv("no_proxy", "*")
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.chdir(tmp_path)
    with ThreadingHTTPServer(("127.0.0.1", 0), Server) as server:
        server.body, server.asked = BODY, 0
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield server
        server.shutdown()


@pytest.fixture
def publish(server, monkeypatch):
    def at(path="file", sha256=SHA256, name=NAME, **changes):
        address = f"http://127.0.0.1:{server.server_port}/{path}"
        monkeypatch.setitem(PUBLISHED, name, replace(PUBLISHED[name], address=address, sha256=sha256, **changes))

    return at


def cached(tmp_path, content):
    path = tmp_path / "torch/hub/checkpoints" / NAME
    path.parent.mkdir(parents=True)
    path.write_bytes(content)


def files_in(folder):
    return [path.name for path in folder.rglob("*") if path.is_file()] if folder.exists() else []


def put(content):
    PLACE.parent.mkdir(parents=True)
    PLACE.write_bytes(content)


@pytest.mark.parametrize("sha256", [SHA256, SHA256[:10], None])
def test_an_absent_file_is_downloaded_once(publish, server, sha256, capsys):
    publish(sha256=sha256)
    assert published_file(NAME) == published_file(NAME) == PLACE
    assert PLACE.read_bytes() == BODY
    assert files_in(PLACE.parent) == [NAME]
    assert server.asked == 1
    assert f"{NAME}: 100%" in capsys.readouterr().err


def test_the_cache_of_face_alignment_is_tried_before_the_network(publish, server, tmp_path):
    publish("gone")
    cached(tmp_path, BODY)
    assert published_file(NAME).read_bytes() == BODY
    assert server.asked == 0


def test_a_wrong_file_in_that_cache_is_said_and_not_taken(publish, tmp_path, caplog):
    caplog.set_level("INFO")
    publish()
    cached(tmp_path, b"half of it")
    assert published_file(NAME).read_bytes() == BODY
    assert f"checkpoints/{NAME}: expected a SHA-256 that begins with {SHA256}" in caplog.text


def test_a_wrong_file_stops_the_stage_and_is_left_alone(publish, server):
    publish()
    put(b"of mine")
    found = hashlib.sha256(b"of mine").hexdigest()
    message = f"^{PLACE}: expected a SHA-256 that begins with {SHA256}, as published, found {found}; `.* get {NAME}` "
    with pytest.raises(UserError, match=message):
        published_file(NAME)
    assert PLACE.read_bytes() == b"of mine"
    assert server.asked == 0


def test_get_replaces_a_wrong_file(publish, caplog):
    caplog.set_level("INFO")
    publish()
    put(b"of mine")
    get(NAME)
    assert PLACE.read_bytes() == BODY
    assert "`detect.detector: fa_blazeface` uses it" in caplog.text


@pytest.mark.parametrize(
    ("path", "sha256", "body", "message"),
    [
        (
            "file",
            "0123abcd",
            BODY,
            rf"/file: expected a SHA-256 that begins with 0123abcd, as published, found {SHA256}",
        ),
        ("file", None, b"<html>", rf"/file: expected {NAME}, found a web page"),
        ("file", None, b"", rf"/file: expected {NAME}, found an empty file"),
        ("half", None, BODY, r"/half: broke off after 4 of 8 bytes"),
        (
            "gone",
            None,
            BODY,
            rf"/gone: the server answers 404 Not Found; try later, or put the file at {PLACE} by hand",
        ),
    ],
)
def test_a_failed_download_says_why_and_leaves_nothing(publish, server, path, sha256, body, message):
    server.body = body
    publish(path, sha256)
    with pytest.raises(UserError, match=r"^http://127\.0\.0\.1:\d+" + message):
        published_file(NAME)
    assert files_in(PLACE.parent) == []


def test_without_a_connection_it_says_where_from_and_where_to(publish, server):
    publish()
    server.shutdown()
    server.server_close()
    message = rf"^http://127\.0\.0\.1:{server.server_port}/file: no connection \(.*put the file at {PLACE} by hand$"
    with pytest.raises(UserError, match=message):
        published_file(NAME)


def test_a_detector_gets_all_its_files_in_order(publish):
    publish()
    publish(name="anchors.npy")
    assert DETECTORS["fa_blazeface"].files() == [PLACE, PLACE.with_name("anchors.npy")]


def test_a_missing_package_is_said_before_anything_is_downloaded(publish, server):
    publish(package="no_such_runtime")
    message = "detect.detector: fa_blazeface needs the package no_such_runtime.*: pip install .*no_such_runtime"
    with pytest.raises(UserError, match=message):
        files_of("fa_blazeface")
    assert server.asked == 0


def test_every_choice_but_those_whose_files_are_in_packages_has_a_published_file(monkeypatch):
    monkeypatch.setattr("emotion_pipeline.weights.face_files.published_file", PLACE.with_name)
    for file, record in PUBLISHED.items():
        monkeypatch.setitem(PUBLISHED, file, replace(record, package=""))
    for name, choice in {**DETECTORS, **PREDICTORS}.items():
        published = [PLACE.with_name(file) for file, record in PUBLISHED.items() if name in record.choices]
        in_packages = name in ("centerface", "dlib_hog", "dlib_mmod", "dlib_68")
        assert bool(published) != in_packages
        assert in_packages or choice.files() == published
    choices = {f"{record.setting}: {choice}" for record in PUBLISHED.values() for choice in record.choices}
    assert choices <= {*(f"detect.detector: {n}" for n in DETECTORS), *(f"align.predictor: {n}" for n in PREDICTORS)}


def test_the_command_line_lists_and_gets_them(publish, monkeypatch, caplog):
    caplog.set_level("INFO")
    monkeypatch.setattr("logging.basicConfig", lambda **_: None)
    for arguments in (["get", NAME], []):
        publish()
        monkeypatch.setattr(sys, "argv", ["emotion_pipeline", "weights", *arguments])
        main()
    lines = [line.strip() for line in caplog.messages[-1].splitlines()]
    after = lines[lines.index(str(PLACE)) :]
    assert after[1:4] == [
        PUBLISHED[NAME].address,
        PUBLISHED[NAME].licence,
        f"present: right: the published SHA-256 ({SHA256[:10]}...)",
    ]
    assert after[4] == "data/weights/faces/anchors.npy"
    assert after[7] == "absent: `python -m emotion_pipeline weights get anchors.npy`"
    assert sum(line.startswith(("absent", "present", "wrong")) for line in lines) == len(PUBLISHED)
    assert "fa_scrfd: in `detect.detector` (and `pip install -c requirements.txt onnxruntime`)" in lines


def test_a_file_of_a_package_that_is_not_installed_names_the_package():
    with pytest.raises(
        UserError, match=r"models/x\.dat: is in the package no-such-package.*pip install no-such-package"
    ):
        package_file("no_such_package", "models", "x.dat")
