"""Numbers against hand computation, and what the page must never do."""

import csv
import filecmp
import json
import re
import shutil
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd
import pytest

from emotion_pipeline.data.scores import write_scores
from emotion_pipeline.emotions import EMOTIONS
from emotion_pipeline.errors import UserError
from emotion_pipeline.faces.gallery import face_strip, strip_clip
from emotion_pipeline.report import paper
from emotion_pipeline.report.evaluate import evaluate, write_tables
from emotion_pipeline.report.figures import training_curves
from emotion_pipeline.report.pool import pooled
from emotion_pipeline.report.sources import KINDS, History, failure_folders, kinds_of, read_sources
from emotion_pipeline.report.tables import (
    accuracies,
    best,
    chance,
    compared_fusions,
    confusion_with_absent,
    failures_by_clip,
    paper_table,
)
from tests.report.conftest import (
    ANSWERS,
    CLIPS,
    HOSTILE,
    PARAMS,
    SEEDS,
    clip,
    params_of,
    score_table,
    write_data,
    write_rows,
    write_track,
)


def table(path: Path) -> list[dict[str, str]]:
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def reports(data_once: Path) -> Path:
    """Made once; no test writes here."""
    evaluate(data_once, data_once.parent / "reports", PARAMS)
    return data_once.parent / "reports"


def metrics_of(data: Path) -> dict[str, Any]:
    sources = read_sources(data, PARAMS)
    write_tables(sources, accuracies(sources, PARAMS.evaluate), data / "reports")
    return json.loads((data / "reports" / "metrics.json").read_text())


def page_of(data: Path, title: str = "tiny") -> str:
    evaluate(data, data / "reports", params_of(title))
    return (data / "reports" / "report.html").read_text()


def of_kind(kind: str) -> list[str]:
    return [name for name, own in kinds_of(PARAMS).items() if own == kind]


def test_every_model_of_params_has_a_kind_and_every_row_of_the_papers_tables_is_one():
    kinds = kinds_of(PARAMS)
    assert set(kinds) == {*PARAMS.train_temporal, *PARAMS.fusion}
    assert (kinds["vgg_lstm"], kinds["vgg_maximum"], kinds["audio_svm"]) == ("temporal", "baseline", "baseline")
    assert {name for models in paper.ROWS.values() for name in models} <= set(kinds)


def test_metrics_json_counts_an_absent_clip_as_wrong_and_leaves_unlabelled_ones_out(reports: Path):
    text = (reports / "metrics.json").read_text()
    metrics = json.loads(text)
    expected = {
        "train": {"accuracy": 1.0, "sd": 0.0, "uar": 1.0, "n": 1, "n_present": 1, "accuracy_present": 1.0},
        "val": {"accuracy": 0.5, "sd": 0.0, "uar": 0.5, "n": 2, "n_present": 2, "accuracy_present": 0.5},
        "test": {"accuracy": 0.5, "sd": 0.0, "uar": 0.666667, "n": 4, "n_present": 3, "accuracy_present": 0.666667},
    }
    every = {kind: dict.fromkeys(of_kind(kind), expected) for kind in KINDS}
    every["fusion"]["submission_7"] = {split: expected[split] for split in ("train", "test")}  # it has learnt val
    assert metrics == every
    assert text == json.dumps(metrics, indent=2, sort_keys=True) + "\n"


def test_modality_that_no_clip_of_a_split_has(data: Path):
    silent = score_table({**ANSWERS, "b_val": None, "c_val": None})
    for seed in SEEDS:
        write_scores(data / f"train_temporal/audio_mlp/seed_{seed}/scores.h5", silent)
    val = metrics_of(data)["temporal"]["audio_mlp"]["val"]
    assert val == {"accuracy": 0.0, "sd": 0.0, "uar": 0.0, "n": 2, "n_present": 0, "accuracy_present": None}


def test_clip_that_a_score_file_lacks_counts_as_absent(data: Path):
    known = {clip_id: answer for clip_id, answer in ANSWERS.items() if clip_id != "d_test"}
    for seed in SEEDS:
        write_scores(data / f"fuse/mean/seed_{seed}/scores.h5", score_table(known))
    metrics = metrics_of(data)
    assert metrics["fusion"]["mean"]["test"]["accuracy"] == 0.25
    assert metrics["fusion"]["mean"]["test"]["n_present"] == 2
    assert metrics["fusion"]["max"]["test"]["accuracy"] == 0.5


def test_clip_that_the_manifest_lacks_is_refused(data: Path):
    write_scores(data / "fuse/mean/seed_1/scores.h5", score_table({**ANSWERS, "stranger": "sad"}))
    with pytest.raises(UserError, match=r"mean/seed_1/scores\.h5: clip stranger is not in clips\.csv"):
        read_sources(data, PARAMS)


def test_accuracy_csv_has_an_interval_around_each_accuracy(reports: Path):
    rows = table(reports / "accuracy.csv")
    assert len(rows) == len(kinds_of(PARAMS)) * 3 - 1
    row = next(r for r in rows if (r["model"], r["split"]) == ("vgg_lstm", "test"))
    assert (float(row["accuracy"]), row["n"], row["n_present"]) == (0.5, "4", "3")
    assert 0 <= float(row["low"]) < 0.5 < float(row["high"]) <= 1


def test_class_table(reports: Path):
    rows = {row.pop("class"): row for row in table(reports / "classes.csv")}
    assert list(rows) == [*EMOTIONS, "unlabelled", "total"]
    assert rows["angry"] == {"train": "1", "val": "1", "test": "3", "total": "5"}
    assert rows["fear"] == {"train": "0", "val": "0", "test": "0", "total": "0"}
    assert rows["unlabelled"]["test"] == "1"
    assert rows["total"] == {"train": "1", "val": "2", "test": "5", "total": "8"}


def test_confusion_csv_is_of_the_test_split(reports: Path):
    rows = table(reports / "confusion" / "submission_4.csv")
    assert [tuple(row.values()) for row in rows] == [
        (clip_id, "test", run, actual, predicted)
        for run in "01"
        for clip_id, actual, predicted in (
            ("d_test", "angry", "angry"),
            ("e_test", "angry", "happy"),
            ("f_test", "angry", "none"),
            ("g_test", "happy", "happy"),
        )
    ]


def test_confusion_matrix_rows_hold_all_labelled_clips(data_once: Path):
    sources = read_sources(data_once, PARAMS)
    counts = confusion_with_absent(sources, sources.models[0])
    expected = np.zeros((7, 8), int)
    expected[0, [0, 3, 7]] = 2  # of both seeds; angry: said angry, happy, nothing
    expected[3, 3] = 2
    np.testing.assert_array_equal(counts, expected)


def test_predictions_hold_unlabelled_clips_too(reports: Path):
    rows = {row["clip_id"]: row for row in table(reports / "predictions.csv")}
    assert list(rows) == [c.clip_id for c in CLIPS]
    assert set(rows["a_train"]) == {"clip_id", "split", "label", *of_kind("fusion")}
    assert (rows["h_unlabelled"]["label"], rows["h_unlabelled"]["submission_3"]) == ("", "surprise")
    assert rows["f_test"]["mean"] == "none"


def test_chance_is_over_the_classes_that_occur_and_the_commonest_is_taken_from_train(tmp_path: Path):
    clips = [clip("a_train", "train", "happy"), *CLIPS[1:]]
    sources = read_sources(write_data(tmp_path / "happy", clips, ANSWERS), PARAMS)
    assert chance(sources, "test") == (1 / 2, 1 / 4)  # angry (3 clips) and happy (1); train has happy only
    assert chance(sources, "val") == (1 / 2, 0)


def test_numbers_are_means_over_the_seeds(data: Path):
    """The second seed has e_test right and d_test, g_test wrong: 1 of 4 instead of 2."""
    other = {**ANSWERS, "d_test": "sad", "e_test": "angry", "g_test": "sad"}
    write_scores(data / "fuse/mean/seed_5/scores.h5", score_table(other))
    sources = read_sources(data, PARAMS)
    rows = accuracies(sources, PARAMS.evaluate)
    row = next(row for row in rows if (row["model"], row["split"]) == ("mean", "test"))
    assert row["accuracy"] == 0.375
    assert row["sd"] == pytest.approx(0.176777, abs=1e-6)  # of 0.5 and 0.25
    assert row["accuracy_present"] == 0.5
    assert row["uar"] == pytest.approx((2 / 3 + 1 / 6) / 2, abs=1e-6)  # (1/3 + 1)/2 and (1/3 + 0)/2
    shown = {row["model"]: row for row in paper_table(4, rows) if row["split"] == "test"}
    assert (shown["mean"]["accuracy"], shown["mean"]["paper"], shown["submission_3"]["paper"]) == (0.375, None, 56.66)
    assert list(shown) == list(paper.ROWS[4])


def test_the_two_best_fusions_are_compared_seed_by_seed(data: Path):
    better = {**ANSWERS, "e_test": "angry"}
    for seed, answers in zip(SEEDS, (better, ANSWERS), strict=True):
        write_scores(data / f"fuse/submission_3/seed_{seed}/scores.h5", score_table(answers))
    sources = read_sources(data, PARAMS)
    (compared,) = compared_fusions(sources, accuracies(sources, PARAMS.evaluate))
    assert (compared["first"], compared["only_first"], compared["only_second"]) == ("submission_3", 1, 0)
    assert (compared["lowest"], compared["highest"], compared["p"]) == (1.0, 1.0, 1.0)  # 1 against 0; no difference


def test_scores_of_the_unlabelled_test_clips_are_written(reports: Path):
    rows = {row.pop("clip_id"): row for row in table(reports / "scores" / "submission_7.csv")}
    assert list(rows) == [c.clip_id for c in CLIPS if c.split == "test"]
    assert rows["h_unlabelled"]["predicted"] == "surprise"
    assert float(rows["h_unlabelled"]["surprise"]) == pytest.approx(0.4)
    assert set(rows["f_test"].values()) == {"none", ""}


def test_runs_with_other_test_subjects_are_pooled_each_as_its_own_models_see_it():
    """Two seeds, three clips: right 2, 1 of 2 in the first run, 1, 0 of 1 in the second."""

    def rows(*answers: tuple[str, str, str]) -> pd.DataFrame:
        frame = pd.DataFrame(answers, columns=["clip_id", "actual", "predicted"])
        return frame.assign(run=[str(k % 2) for k in range(len(answers))])

    first = rows(("b", "sad", "sad"), ("b", "sad", "sad"), ("c", "happy", "happy"), ("c", "happy", "none"))
    second = rows(("d", "sad", "sad"), ("d", "sad", "fear"))
    (row,) = pooled({"fold-1": {"mean": first}, "fold-2": {"mean": second}}, PARAMS.evaluate)
    assert (row["model"], row["n"], row["runs"]) == ("mean", 3, 2)
    assert row["accuracy"] == pytest.approx((3 + 1) / 6)
    assert row["uar"] == pytest.approx((3 / 4 + 1 / 2) / 2)
    assert row["sd"] == pytest.approx(np.std([1, 1 / 3], ddof=1))
    assert 0 <= row["low"] < row["accuracy"] < row["high"] <= 1
    with pytest.raises(UserError, match="mean: a clip is in the test split of two runs"):
        pooled({"fold-1": {"mean": first}, "fold-2": {"mean": first}}, PARAMS.evaluate)
    with pytest.raises(UserError, match="fold-2: has no answers of max"):
        pooled({"fold-1": {"mean": first, "max": first}, "fold-2": {"mean": second}}, PARAMS.evaluate)


def test_best_marks_all_equal_ones():
    rows = [
        {"kind": "fusion", "split": "test", "accuracy": a, "model": m}
        for m, a in (("mean", 0.5), ("max", 0.7), ("moddrop", 0.7))
    ]
    other = {"kind": "temporal", "split": "val", "accuracy": 0.9, "model": "audio_mlp"}
    assert [row["model"] for row in best([*rows, other], "test")] == ["max", "moddrop"]


@pytest.mark.parametrize(("without", "reported"), [(("test",), "val"), (("test", "val"), "train")])
def test_split_without_labels_is_left_out(
    without_labels_of: Callable[..., Path], without: tuple[str, ...], reported: str
):
    data = without_labels_of(*without)
    page = page_of(data)
    metrics = json.loads((data / "reports" / "metrics.json").read_text())
    assert set(metrics["fusion"]["mean"]) == {"train", "val", "test"} - set(without)
    assert {row["split"] for row in table(data / "reports" / "confusion" / "mean.csv")} == {reported}
    assert f"<em>{reported}</em>. Rows are the true classes" in page


def test_nothing_to_evaluate_is_said(without_labels_of: Callable[..., Path]):
    with pytest.raises(UserError, match=r"clips\.csv: no clip of a split has a label"):
        read_sources(without_labels_of("train", "val", "test"), PARAMS)


def test_text_from_outside_is_escaped(tmp_path: Path):
    clips = [clip("<b>id", "val", "angry"), *CLIPS]
    data = write_data(tmp_path / "hostile", clips, {**ANSWERS, "<b>id": "angry"})
    write_rows(data / "track" / "failures.csv", ("clip_id", "reason", "detail"), [("<i>x", "no_face", HOSTILE)])
    page = page_of(data, title="<u>name")
    assert "&lt;script&gt;alert(&#39;x&#39;)&lt;/script&gt; &amp; &#34;quotes&#34;" in page
    assert not re.search(r"<(script|b>id|i>x|u>name)", page)
    assert "&lt;i&gt;x" in page
    assert "&lt;u&gt;name" in page


class Links(HTMLParser):
    """All that a browser would fetch, and every element that could run something."""

    def __init__(self) -> None:
        super().__init__()
        self.targets: list[str] = []
        self.tags: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.targets += [str(value) for name, value in attrs if name in ("src", "href", "srcset", "data")]


def test_page_needs_nothing_beside_it(reports: Path):
    page = (reports / "report.html").read_text()
    links = Links()
    links.feed(page)
    assert links.targets
    assert all(target.startswith(("data:image/", "#")) for target in links.targets)
    assert not links.tags & {"script", "link", "iframe", "object"}
    assert "@import" not in page
    assert "url(" not in page


def test_same_input_gives_the_same_bytes(data_once: Path, reports: Path, tmp_path: Path):
    evaluate(data_once, tmp_path / "again", PARAMS)
    files = [str(f.relative_to(reports)) for f in reports.rglob("*") if f.is_file()]
    models, fusions, tables, trainings = len(kinds_of(PARAMS)), len(PARAMS.fusion), 6, 6
    assert len(files) == 6 + models + fusions + tables + trainings
    assert filecmp.cmpfiles(reports, tmp_path / "again", files, shallow=False) == (files, [], [])


def test_failures_are_listed_by_stage_and_joined_by_clip_on_the_page(data: Path):
    folders = failure_folders(data, PARAMS)
    for stage in ("track", "extract_vgg"):
        rows = [("f_test", "no_face", "in none")]
        write_rows(folders[stage] / "failures.csv", ("clip_id", "reason", "detail"), rows)
    page = page_of(data)
    rows = [tuple(row.values()) for row in table(data / "reports" / "failures.csv")]
    assert rows == [("track", "f_test", "no_face", "in none"), ("extract_vgg", "f_test", "no_face", "in none")]
    joined = failures_by_clip(read_sources(data, PARAMS).failures)
    assert joined == [("f_test", "no_face", "in none", ["track", "extract_vgg"])]
    silent = [stage for stage in folders if stage not in ("track", "extract_vgg")]
    assert f"None in {', '.join(silent)}." in page


def test_no_failures(reports: Path):
    assert table(reports / "failures.csv") == []
    assert (reports / "failures.csv").read_text() == "stage,clip_id,reason,detail\n"
    assert "No stage listed a clip" in (reports / "report.html").read_text()


def test_a_model_that_was_not_pulled_gives_a_message(data: Path):
    shutil.rmtree(data / "train_temporal/vgg_lstm/seed_5")
    with pytest.raises(UserError, match=r"vgg_lstm/seed_5/scores.h5: no such file.*dvc pull .*/vgg_lstm`"):
        read_sources(data, PARAMS)


def test_strip_takes_the_first_clip_with_enough_faces_else_the_one_with_most(tmp_path: Path):
    clips = [clip(name, "test", "sad") for name in ("a", "b", "c", "d")]
    for name, faces in (("a", 0), ("b", 2), ("d", 4)):  # c failed: it has no file
        write_track(tmp_path, name, faces)
    tracks = tmp_path / "track"
    assert strip_clip(clips, tracks, 2) == clips[1]
    assert strip_clip(clips, tracks, 9) == clips[3]
    assert strip_clip(clips[:1], tracks, 1) is None


def test_strip_falls_back_on_another_split_and_says_where_no_clip_shows_a_face(reports: Path):
    page = (reports / "report.html").read_text()
    assert "<code>c_val</code>, val, frames 5 to 6" in page  # sad is in val only
    assert page.count("no labelled clip of this class shows a face") == 4  # all but angry, happy, sad


def test_strip_shows_the_faces_in_order(tmp_path: Path):
    write_track(tmp_path, "a", 5)  # face i is 10 i grey, of frame 5 + i
    picture, frames = face_strip(tmp_path / "track" / "a.h5", 3)
    grey = cv2.imdecode(np.frombuffer(picture, np.uint8), cv2.IMREAD_GRAYSCALE)
    assert frames == [5, 7, 9]
    np.testing.assert_allclose(grey[56, [56, 168, 280]], [0, 20, 40], atol=2)


def test_the_frame_network_on_single_pictures_is_shown_where_it_was_measured(reports: Path, data: Path):
    row = r"PublicTest</th><td>3589</td><td>65\.2</td><td>61\.0</td>\s*<td>0</td><td>10</td><td>20</td>"
    assert re.search(row, (reports / "report.html").read_text())
    write_rows(data / "finetune_vgg/accuracy.csv", ("part", "n", "accuracy", "uar", *EMOTIONS), [])
    assert "on single pictures" not in page_of(data)


def test_a_network_that_was_taken_as_it_is_has_no_training_curve(reports: Path, data: Path):
    assert "VGG-Face, fine-tuned" in (reports / "report.html").read_text()
    write_rows(data / "finetune_vgg/history.csv", ("epoch", "train_loss", "val_loss", "val_accuracy"), [])
    page = page_of(data)
    assert "VGG-Face, fine-tuned" not in page
    assert "C3D, weighted windows, fine-tuned" in page


@pytest.mark.parametrize(
    "columns",
    [
        {"epoch": [1.0], "train_loss": [2.0], "val_loss": [float("nan")]},
        {"c": [0.1], "val_accuracy": [0.5]},
        {"epoch": [], "train_loss": []},
        {"epoch": [1.0, 2.0], "seconds": [3.0, 4.0]},
    ],
)
def test_curves_of_small_and_odd_histories(columns: dict[str, list[float]]):
    picture = training_curves(History("model", "a model", columns))
    assert picture.startswith(b"<?xml")
    assert b"<dc:date>" not in picture
