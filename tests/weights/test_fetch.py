"""Published files and `python -m emotion_pipeline weights`, against a server on this machine."""

import hashlib
import socket
import sys
import threading
from dataclasses import replace
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import torch

from emotion_pipeline.__main__ import main
from emotion_pipeline.errors import UserError
from emotion_pipeline.faces.detect import DETECTORS
from emotion_pipeline.faces.landmarks import PREDICTORS
from emotion_pipeline.features import published
from emotion_pipeline.features.c3d import C3D
from emotion_pipeline.features.published import require_layers
from emotion_pipeline.weights.fetch import files_of, get, listing
from emotion_pipeline.weights.registry import FOLDER, PUBLISHED, place_of

NAME, CHOICE = "s3fd-619a316812.pth", "fa_sfd"
PLACE = Path("data/weights/faces", NAME)
BODY = b"\x80weights"
SHA256 = hashlib.sha256(BODY).hexdigest()
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


@pytest.fixture(autouse=True)
def _empty(monkeypatch, tmp_path):
    """An empty repository, and nothing in face-alignment's cache."""
    monkeypatch.setenv("no_proxy", "*")
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def server():
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


@pytest.fixture(scope="module")
def narrow_c3d(tmp_path_factory):
    """The bytes of a published file of a narrow C3D."""
    path = tmp_path_factory.mktemp("content") / PICKLE
    torch.manual_seed(5)
    torch.save({k: v.contiguous() for k, v in C3D(487, 0.03).state_dict().items()}, path)
    return path.read_bytes()


def cached(tmp_path, content):
    path = tmp_path / "torch/hub/checkpoints" / NAME
    path.parent.mkdir(parents=True)
    path.write_bytes(content)


def files_in(folder):
    return [path.name for path in folder.rglob("*") if path.is_file()] if folder.exists() else []


def put(content, path=PLACE):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


def run(monkeypatch, *arguments):
    """The command line; it logs into `caplog`."""
    monkeypatch.setattr(sys, "argv", ["emotion_pipeline", *arguments])
    monkeypatch.setattr("logging.basicConfig", lambda **_: None)
    main()


@pytest.mark.parametrize("sha256", [SHA256, SHA256[:10], ""])
def test_an_absent_file_is_downloaded_once(publish, server, sha256, capsys, caplog):
    caplog.set_level("INFO")
    publish(sha256=sha256)
    assert files_of(CHOICE) == files_of(CHOICE) == [PLACE]
    assert PLACE.read_bytes() == BODY
    assert files_in(FOLDER) == [NAME]
    assert server.asked == 1
    assert f"{PUBLISHED[NAME].address}: {PUBLISHED[NAME].licence}" in caplog.text
    assert "100%|" in capsys.readouterr().err


def test_the_cache_of_face_alignment_is_tried_before_the_network(publish, server, tmp_path):
    publish("gone")
    cached(tmp_path, BODY)
    assert files_of(CHOICE)[0].read_bytes() == BODY
    assert server.asked == 0


def test_a_wrong_file_in_that_cache_is_said_and_not_taken(publish, tmp_path, caplog):
    caplog.set_level("INFO")
    publish()
    cached(tmp_path, b"half of it")
    assert files_of(CHOICE)[0].read_bytes() == BODY
    assert f"checkpoints/{NAME}: expected a SHA-256 that begins with {SHA256}" in caplog.text


def test_a_wrong_file_stops_the_stage_and_is_left_alone(publish, server):
    publish()
    put(b"of mine")
    found = hashlib.sha256(b"of mine").hexdigest()
    message = f"^{PLACE}: expected a SHA-256 that begins with {SHA256}, as published, found {found}; `.* get {NAME}` "
    with pytest.raises(UserError, match=message):
        files_of(CHOICE)
    assert PLACE.read_bytes() == b"of mine"
    assert server.asked == 0


def test_get_replaces_a_wrong_file(publish, caplog):
    caplog.set_level("INFO")
    publish()
    put(b"of mine")
    get(NAME)
    assert PLACE.read_bytes() == BODY
    assert f"{PLACE}: expected a SHA-256 that begins with" in caplog.text
    assert "`detect.detector: fa_sfd` uses it" in caplog.text


@pytest.mark.parametrize("stated", [True, False])
def test_get_says_by_what_a_file_of_a_network_is_known_to_be_right(stated, publish, server, caplog, narrow_c3d):
    sha256 = hashlib.sha256(narrow_c3d).hexdigest()
    caplog.set_level("INFO")
    server.body = narrow_c3d
    publish(sha256=sha256 if stated else "", name=PICKLE)
    get(PICKLE)
    get(PICKLE)
    assert Path("data/weights/c3d", PICKLE).read_bytes() == narrow_c3d
    assert server.asked == 1
    assert (
        f"the published SHA-256 ({sha256[:10]}...)" in caplog.text if stated else f"file's is {sha256}" in caplog.text
    )
    assert f"`finetune_c3d.weighted.weights: {PICKLE}` uses it" in caplog.text


@pytest.mark.parametrize(
    ("path", "sha256", "body", "message"),
    [
        (
            "file",
            "0123abcd",
            BODY,
            rf"/file: expected a SHA-256 that begins with 0123abcd, as published, found {SHA256}",
        ),
        ("file", "", b"<html>", rf"/file: expected {NAME}, found a web page"),
        ("file", "", b"", rf"/file: expected {NAME}, found an empty file"),
        ("half", "", BODY, r"/half: broke off \(.*4 bytes read, 4 more expected.*\); try again"),
        (
            "gone",
            "",
            BODY,
            rf"/gone: the server answers 404 Client Error: Not Found; try later, or put the file at {PLACE} by hand",
        ),
    ],
)
def test_a_failed_download_says_why_and_leaves_nothing(publish, server, path, sha256, body, message):
    server.body = body
    publish(path, sha256)
    with pytest.raises(UserError, match=r"^http://127\.0\.0\.1:\d+" + message):
        files_of(CHOICE)
    assert files_in(FOLDER) == []


@pytest.mark.parametrize(
    ("sha256", "body", "message"),
    [
        ("", b"no tensors", r"not a PyTorch file of tensors"),
        ("", None, r"layer conv1.weight: expected \(64, 3, 3, 3, 3\) for c3d at width 1, found \(2, 3, 3, 3, 3\)"),
    ],
)
def test_a_download_that_is_not_the_network_leaves_what_was_there(
    publish, server, sha256, body, message, narrow_c3d, monkeypatch
):
    server.body = body or narrow_c3d
    publish(sha256=sha256, name=PICKLE)
    put(b"<of mine", place_of(PICKLE))
    with pytest.raises(SystemExit, match=rf"^ERROR: http://127\.0\.0\.1:\d+/file: {message}"):
        run(monkeypatch, "weights", "get", PICKLE)
    assert place_of(PICKLE).read_bytes() == b"<of mine"
    assert files_in(FOLDER) == [PICKLE]


@pytest.fixture(params=["Connection refused", "timed out"])
def unanswered(request, monkeypatch):
    """Publish a file where nothing listens, or something that accepts and keeps silent."""
    monkeypatch.setattr("emotion_pipeline.weights.fetch.SECONDS", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"http://127.0.0.1:{silent.getsockname()[1]}/file"
        monkeypatch.setitem(PUBLISHED, NAME, replace(PUBLISHED[NAME], address=address))
        if request.param == "Connection refused":
            silent.close()
        yield request.param


def test_without_a_connection_the_file_can_be_put_there_by_hand(unanswered):
    message = (
        rf"/file: no connection \(.*{unanswered}\); see whether this machine is online, or put the file at {PLACE} by"
    )
    with pytest.raises(UserError, match=message):
        files_of(CHOICE)
    assert files_in(FOLDER) == []


def test_a_detector_gets_all_its_files_in_order(publish):
    publish(name="blazeface.pth")
    publish(name="anchors.npy")
    assert files_of("fa_blazeface") == [PLACE.with_name("blazeface.pth"), PLACE.with_name("anchors.npy")]


def test_a_missing_package_is_said_before_anything_is_downloaded(publish, server):
    publish(package="no_such_runtime")
    message = "detect.detector: fa_sfd needs the package no_such_runtime.*: pip install .*no_such_runtime"
    with pytest.raises(UserError, match=message):
        files_of(CHOICE)
    assert server.asked == 0


def test_every_choice_but_those_whose_files_are_in_packages_has_a_published_file(monkeypatch):
    monkeypatch.setattr("emotion_pipeline.weights.fetch._fetch", lambda name: None)
    for file, record in PUBLISHED.items():
        monkeypatch.setitem(PUBLISHED, file, replace(record, package=""))
    for name in (*DETECTORS, *PREDICTORS):
        files = [PLACE.with_name(file) for file, record in PUBLISHED.items() if name in record.values]
        in_packages = name in ("centerface", "dlib_hog", "dlib_mmod", "dlib_68")
        assert bool(files) != in_packages
        assert in_packages or files_of(name) == files
    values = {f"{record.key}: {value}" for record in PUBLISHED.values() for value in record.values}
    assert values <= {*(f"detect.detector: {n}" for n in DETECTORS), *(f"align.predictor: {n}" for n in PREDICTORS)}


def test_an_unknown_name_is_answered_with_the_known_ones(monkeypatch):
    message = r"^ERROR: VGG_FACE\.t7: no published file of this name is known; there are vgg.*, 2DFAN4"
    with pytest.raises(SystemExit, match=message):
        run(monkeypatch, "weights", "get", "VGG_FACE.t7")


def test_the_listing_says_what_is_there_and_what_is_right(publish, narrow_c3d, monkeypatch, caplog):
    caplog.set_level("INFO")
    monkeypatch.setitem(published.NETWORKS, "c3d", partial(C3D, width=0.03))
    publish()
    put(BODY)
    for name in (PICKLE, MMACTION):
        put(narrow_c3d, place_of(name))
    run(monkeypatch, "weights")
    lines = [line.strip() for line in caplog.messages[0].splitlines()]
    after = {name: lines[lines.index(str(place_of(name))) + 1 :][:4] for name in PUBLISHED}
    for name, record in PUBLISHED.items():
        assert after[name][1:3] == [record.address, record.licence]
    untried = "; nobody has run it with its published weights yet"
    needs = " (with `pip install -c requirements.txt onnxruntime`)"
    assert after["vgg_face_dag.pth"][0] == f"for `finetune_vgg.weights: vgg_face_dag.pth`{untried}"
    assert after["scrfd_2.5g_bnkps.onnx"][0] == f"for `detect.detector: fa_scrfd`{needs}{untried}"
    yunet = "face_detection_yunet_2023mar.onnx"
    assert after[yunet][0] == "for `detect.detector: yunet` or `detect.detector: fa_yunet`"
    assert after[yunet][3] == f"absent: `python -m emotion_pipeline weights get {yunet}`"
    state = {name: block[3] for name, block in after.items()}
    assert state[NAME] == f"present: right: the published SHA-256 ({SHA256[:10]}...)"
    found = hashlib.sha256(narrow_c3d).hexdigest()
    assert state[PICKLE] == f"present: no SHA-256 is published to compare with; this file's is {found}"
    assert state[MMACTION].startswith("wrong: ")
    assert "begins with dcc47ddc, as published, found" in state[MMACTION]
    assert sum(line.startswith(("absent", "present", "wrong")) for line in lines) == len(PUBLISHED)


def test_a_file_of_another_shape_is_listed_as_wrong(narrow_c3d):
    put(narrow_c3d, place_of(PICKLE))
    message = "layer conv1.weight: expected (64, 3, 3, 3, 3) for c3d at width 1, found (2, 3, 3, 3, 3)"
    assert f"wrong: {place_of(PICKLE)}: {message}" in listing(require_layers)
