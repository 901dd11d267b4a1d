"""The command line, on small folders."""

import sys

import pytest

from emotion_pipeline.__main__ import main
from emotion_pipeline.data.manifest import Clip, write_manifest


@pytest.fixture
def command(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data/ingest").mkdir(parents=True)
    clips = [Clip(name, f"{name}.mp4", "train", "happy", "") for name in ("happy_012", "sad_001")]
    write_manifest(tmp_path / "data/ingest/clips.csv", clips)

    def run(*arguments: str) -> str:
        monkeypatch.setattr(sys, "argv", ["emotion_pipeline", *arguments])
        with pytest.raises(SystemExit) as ended:
            main()
        return str(ended.value)

    return run


def test_overlay_of_an_unknown_clip_names_similar_ones(command):
    message = "ERROR: happy_12: no such clip in data/ingest/clips.csv; did you mean one of these: happy_012"
    assert command("overlay", "happy_12") == message


def test_overlay_of_a_clip_that_was_not_tracked_says_what_to_run(command):
    message = "ERROR: data/align/sad_001.h5: no such file; run `dvc repro track`, and see failures.csv beside it"
    assert command("overlay", "sad_001") == message


def test_overlay_before_anything_ran_says_what_to_run(command, tmp_path):
    (tmp_path / "data/ingest/clips.csv").unlink()
    assert command("overlay", "sad_001") == "ERROR: data/ingest/clips.csv: no such file; run `dvc repro track`"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("nosuch",), "ERROR: No such command 'nosuch'"),
        (("search", "train_temporal.vgg_lstm", "--trials", "0"), "ERROR: Invalid value for '--trials': "),
        (("overlay",), "ERROR: Missing"),
    ],
)
def test_a_wrong_call_ends_with_one_line(command, capsys, arguments, message):
    assert command(*arguments) == "2"
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(message)
    assert line.endswith("See `python -m emotion_pipeline --help`.")


@pytest.mark.parametrize("arguments", [(), ("--help",)])
def test_the_bare_command_shows_every_command(monkeypatch, capsys, arguments):
    monkeypatch.setattr(sys, "argv", ["emotion_pipeline", *arguments])
    main()
    shown = capsys.readouterr().out
    names = (
        "status",
        "verify",
        "failures",
        "explain",
        "overlay",
        "search",
        "complementary",
        "pool",
        "prune",
        "weights",
    )
    assert [name for name in names if name not in shown] == []
