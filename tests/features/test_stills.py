from pathlib import Path

import cv2
import numpy as np
import pytest
import skimage.data

from emotion_pipeline.emotions import EMOTIONS
from emotion_pipeline.errors import UserError
from emotion_pipeline.faces.dlib_models import dlib_68, hog_boxes
from emotion_pipeline.features.stills import (
    Still,
    _decode,
    aligned,
    batches,
    hold_out,
    read_stills,
    stills_of_tracks,
    warped,
)
from emotion_pipeline.weights.fetch import files_of

RNG = np.random.default_rng
BOTH = ("Training", "PublicTest")


def labels_of(stills):
    return [still.label for still in stills]


def test_stills_are_read_from_the_named_parts_with_their_classes(stills_folder):
    assert np.bincount(labels_of(read_stills(stills_folder, ["PublicTest"]))).tolist() == [1] * 7
    assert read_stills(stills_folder, ["PrivateTest"]) == []
    stills = read_stills(stills_folder, BOTH)
    assert np.bincount(labels_of(stills)).tolist() == [8] * 7
    for still in stills:
        assert Path(still.name).parent.name.lower() == EMOTIONS[still.label]


def test_stills_are_aligned_where_a_face_is_found_and_kept_where_none_is():
    """A tilted still of a real face, 48 x 48 as in FER2013, comes out level; a picture without a face as it was."""
    face = cv2.resize(skimage.data.astronaut()[40:180, 150:290], (48, 48), interpolation=cv2.INTER_AREA)
    tilt = cv2.getRotationMatrix2D((23.5, 23.5), 12, 1)
    tilted = cv2.warpAffine(face, tilt, (48, 48), borderMode=cv2.BORDER_REPLICATE)
    ramp = np.repeat(np.arange(48, dtype=np.uint8)[:, None] * 5, 48, 1)[..., None].repeat(3, 2)
    stills = [Still(str(i), cv2.imencode(".png", p[..., ::-1])[1].tobytes(), i) for i, p in enumerate((tilted, ramp))]
    found, count = aligned(stills, margin=0.15)
    assert count == 1
    level = _decode(found[0])
    boxes = hog_boxes(cv2.cvtColor(level, cv2.COLOR_RGB2GRAY))
    (points,) = next(dlib_68([(level, boxes[:1])], *files_of("dlib_68")))
    across = points[42:48].mean(0) - points[36:42].mean(0)
    assert abs(np.degrees(np.arctan2(across[1], across[0]))) < 3
    np.testing.assert_allclose(
        _decode(found[1]).astype(float), cv2.resize(ramp, (224, 224), interpolation=cv2.INTER_CUBIC), atol=4
    )


def fer2013_csv(path: Path, rows: list[str]) -> Path:
    path.write_text("emotion,pixels,Usage\n" + "\n".join(rows) + "\n")
    return path


def test_the_original_csv_gives_the_same_as_the_folders(stills_folder, tmp_path):
    """Class numbers of the csv file are FER2013's own: surprise is 5 and neutral 6."""
    numbers = {"angry": 0, "disgust": 1, "fear": 2, "happy": 3, "sad": 4, "surprise": 5, "neutral": 6}
    folder = tmp_path / "folder/PublicTest"
    rows = []
    for path in sorted((stills_folder / "PublicTest").glob("*/*")):
        grey = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)
        rows.append(f"{numbers[path.parent.name.lower()]},{' '.join(map(str, grey.ravel()))},PublicTest")
        (folder / path.parent.name).mkdir(parents=True)
        cv2.imwrite(str(folder / path.parent.name / path.name), grey)
    rows.append("3," + " ".join(["255"] * 2304) + ",Training")
    table = fer2013_csv(tmp_path / "fer2013.csv", rows)
    of_csv, of_folder = read_stills(table, ["PublicTest"]), read_stills(tmp_path / "folder", ["PublicTest"])
    assert of_csv[2].name == f"{table}, line 4"
    for label in range(7):
        a, b = (part[labels_of(part).index(label)] for part in (of_csv, of_folder))
        np.testing.assert_array_equal(_decode(a), _decode(b))
    assert _decode(read_stills(table, ["Training"])[0]).min() == 255


@pytest.mark.parametrize(
    ("row", "found"),
    [
        ("7," + "0 " * 2304 + ",Training", "emotion 7 and 2304 such"),
        ("1," + "0 " * 2303 + ",Training", "emotion 1 and 2303 such"),
        ("1," + "0 " * 2303 + "256,Training", "emotion 1 and 0 such"),
        ("1," + "0 " * 2303 + "-1,Training", "emotion 1 and 0 such"),
    ],
)
def test_a_wrong_row_of_the_csv_is_named(row, found, tmp_path):
    table = fer2013_csv(tmp_path / "fer2013.csv", ["1," + "0 " * 2304 + ",Training", row])
    message = rf"fer2013\.csv, line 3: expected an emotion from 0 to 6 and 2304 pixels from 0 to 255, found {found}"
    with pytest.raises(UserError, match=message):
        read_stills(table, BOTH)


def test_a_strange_class_folder_or_table_is_named(tmp_path):
    with pytest.raises(UserError, match=r"nowhere: no such folder or csv file; set finetune_vgg\.stills to FER2013"):
        read_stills(tmp_path / "nowhere", BOTH)
    (tmp_path / "a.csv").write_text("emotion,pixels\n")
    with pytest.raises(UserError, match=r"a\.csv: not FER2013's csv file \(emotion, pixels, Usage\)"):
        read_stills(tmp_path / "a.csv", BOTH)
    (tmp_path / "Training/contempt").mkdir(parents=True)
    (tmp_path / "Training/contempt/a.png").write_bytes(b"x")
    with pytest.raises(UserError, match=r"Training/contempt: expected a folder named as one of angry, disgust"):
        read_stills(tmp_path, BOTH)


def test_a_file_that_is_no_picture_is_named(tmp_path):
    (tmp_path / "Training/sad").mkdir(parents=True)
    (tmp_path / "Training/sad/a.jpg").write_bytes(b"no picture")
    with pytest.raises(UserError, match=r"Training/sad/a\.jpg: not a picture"):
        list(batches(read_stills(tmp_path, BOTH), 4, 224))


def test_the_held_out_part_has_its_share_of_every_class_and_shares_no_picture(stills_folder):
    stills = read_stills(stills_folder, BOTH)
    train, held_out = hold_out(stills, 0.2, RNG(1))
    assert np.bincount(labels_of(held_out)).tolist() == [2] * 7
    assert sorted(train + held_out) == sorted(stills)
    assert hold_out(stills, 0.2, RNG(2))[1] != held_out


def test_unchanged_pictures_come_in_order_as_rgb(tmp_path):
    (tmp_path / "Training/happy").mkdir(parents=True)
    red_left = np.zeros((48, 48, 3), np.uint8)
    red_left[:, :24] = (250, 0, 0)
    cv2.imwrite(str(tmp_path / "Training/happy/a.png"), red_left[..., ::-1])
    [(faces, labels)] = batches(read_stills(tmp_path, BOTH), 4, 224)
    assert faces.shape == (1, 224, 224, 3)
    assert labels.tolist() == [3]
    assert faces[0, 100, 10].tolist() == [250, 0, 0]
    assert faces[0, 100, 210].tolist() == [0, 0, 0]


@pytest.mark.parametrize("side", [48, 224, 448])
def test_pictures_of_any_size_fill_the_input(side):
    ramp = np.repeat(np.linspace(0, 255, side).astype(np.uint8)[None, :, None], side, 0).repeat(3, 2)
    got = warped(ramp, 224, np.eye(2))[112, :, 0].astype(float)
    np.testing.assert_allclose(got, np.linspace(0, 255, 224), atol=3)
    mirrored = warped(ramp, 224, np.diag([-1.0, 1.0]))[112, :, 0].astype(float)
    np.testing.assert_allclose(mirrored, got[::-1], atol=1)


def test_jitter_turns_and_scales_about_the_centre():
    picture = np.zeros((224, 224, 3), np.uint8)
    picture[110:114, 160:164] = 255  # 50 pixels right of the centre
    quarter = np.array([[0.0, -1.0], [1.0, 0.0]])
    for change, (x, y) in [(quarter, (111.5, 161.5)), (1.5 * np.eye(2), (186.5, 111.5)), (np.eye(2), (161.5, 111.5))]:
        mass = warped(picture, 224, change)[..., 0].astype(float)
        assert (mass.sum(0) @ np.arange(224) / mass.sum(), mass.sum(1) @ np.arange(224) / mass.sum()) == pytest.approx(
            (x, y), abs=0.5
        )


def test_the_same_generator_gives_the_same_jitter_and_order(vgg_params, stills_folder):
    stills = read_stills(stills_folder, BOTH)
    first, again, other = (list(batches(stills, 50, 64, vgg_params.jitter, RNG(s))) for s in (1, 1, 2))
    assert all(np.array_equal(a[0], b[0]) and np.array_equal(a[1], b[1]) for a, b in zip(first, again, strict=True))
    assert not np.array_equal(first[0][0], other[0][0])
    assert sorted(np.concatenate([labels for _, labels in first])) == sorted(labels_of(stills))


def test_faces_of_clips_are_evenly_spaced_and_carry_the_label_of_their_clip(make_track, noise, tmp_path):
    tracks = {make_track(tmp_path / "a.h5", noise(9)): 4, make_track(tmp_path / "b.h5", noise(0)): 1}
    tracks[make_track(tmp_path / "c.h5", noise(2))] = 6
    stills = stills_of_tracks(tracks, per_clip=3)
    assert [still.name.split(", ")[1] for still in stills] == ["face 0", "face 4", "face 8", "face 0", "face 1"]
    assert labels_of(stills) == [4, 4, 4, 6, 6]
    [(faces, _)] = batches(stills, 5, 224)
    assert np.abs(faces[1].astype(int) - noise(9)[4]).mean() < 3
