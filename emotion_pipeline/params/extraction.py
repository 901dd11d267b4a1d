"""Sections of the stages from the data set to the features."""

from typing import Annotated, Literal

from pydantic import Field

from emotion_pipeline.params.base import Count, Dropout, Fraction, NotNegative, Overlap, Positive, Section, WholeNumber


class SubjectCounts(Section):
    """Number of generated performers per split."""

    train: Count
    val: Count
    test: Count


class SampleParams(Section):
    """The generated data set."""

    seed: WholeNumber
    subjects: SubjectCounts
    emotions_per_subject: Annotated[int, Field(ge=1, le=7)]  # the classes take turns over the subjects
    takes: Count  # clips per subject and emotion
    difficulty: Fraction  # 0 easy .. 1 hard
    stills_per_emotion: Count  # still faces in the FER2013 layout, per class


class SubjectSplit(Section):
    """Subjects by split, as they are written in the file names."""

    train: tuple[str, ...]
    val: tuple[str, ...]
    test: tuple[str, ...]


class IngestParams(Section):
    """Where the clips are and how their folder is laid out."""

    dataset: Literal["sample", "javanese", "afew", "folder", "csv"]
    root: str  # folder of the data set, relative to the repository
    min_clips: WholeNumber  # fewer clips than this: the folder is only partly here
    subjects: SubjectSplit | None  # for layouts that name subjects but no split
    test_subject: Annotated[str, Field(pattern=r"^[\w-]+$")] | None  # is test, the next one val: leave one subject out


class DetectParams(Section):
    """Face detection."""

    detector: Literal[
        "centerface",
        "yunet",
        "dlib_hog",
        "dlib_mmod",
        "fa_sfd",
        "fa_blazeface",
        "fa_yunet",
        "fa_scrfd",
        "fa_retinaface",
    ]
    threshold: float  # lowest detection score that counts
    scale: Annotated[float, Field(ge=0.1, le=8)]  # the pictures are searched at this share of their width and height


class AlignParams(Section):
    """Landmarks."""

    predictor: Literal["dlib_68", "fan_2d"]


class TrackParams(Section):
    """Linking boxes over time, smoothing, and the warp."""

    min_overlap: Fraction  # intersection over union between linked boxes
    max_distance: Positive  # of centres over box side, plus octaves of size; for boxes that overlap less
    max_gap_frames: WholeNumber  # frames without a detection that a track survives
    cut_threshold: Fraction  # a greater change of half of the picture, over its full range, is a cut: all tracks end
    gaps: Literal["interpolate", "leave"]  # what becomes of the frames in a gap of the chosen track
    smoothing_frames: NotNegative  # standard deviation of the Gaussian over time; 0: none
    margin: Annotated[float, Field(ge=0, le=1)]  # above the brows and below the chin, over the height between
    border: Literal["replicate", "black"]
    encoding: Literal["raw", "jpeg"]  # jpeg: quality 95, 4:4:4


class QualityParams(Section):
    """What is looked at to judge the faces."""

    sheet_frames: Annotated[int, Field(ge=2, le=20)]  # of each clip, on its contact sheet


class GalleryParams(Section):
    """What the report shows of the faces."""

    strip_faces: Count  # per class, in a row
    worst_clips: WholeNumber  # clips whose contact sheets are shown, the worst first


class JitterParams(Section):
    """Random changes of the training images."""

    scale: Fraction  # factor drawn from [1 - scale, 1 + scale]
    rotation_degrees: Annotated[float, Field(ge=0, le=45)]
    flip: bool


class FinetuneParams(Section):
    """What the fine-tunings of VGG-Face and C3D share."""

    weights: str | None  # file in data/weights/vgg_face or data/weights/c3d; null: random start
    width: Annotated[float, Field(gt=0, le=1)]  # of every layer, 1 = the published network
    dropout: Dropout  # of the last layer's inputs
    learning_rate: Positive
    lr_schedule: Literal["constant", "cosine"]  # of the learning rate over the epochs; cosine: falls to 0
    weight_decay: NotNegative
    epochs: Count
    patience: Count  # epochs without a higher accuracy: VGG-Face on the held-out images, C3D over the clips of val
    seed: WholeNumber


class FinetuneVggParams(FinetuneParams):
    """Fine-tuning VGG-Face on still faces, section 2.3."""

    images: Literal["stills", "clips", "none"]  # FER2013, or frames of the labelled clips; none: `weights` as they are
    stills: str  # fer2013.csv, or a folder <part>/<class>/<file>
    train_parts: tuple[str, ...]  # parts of the stills that are trained on
    test_part: str | None  # part of the stills on which accuracy is measured
    film_frames: str  # folder <class>/<file> (as SFEW) on which accuracy is measured, too, where it holds any
    margin: Annotated[float, Field(ge=0, le=1)]  # of the aligned stills, as track.margin
    frames_per_clip: Count  # with images: clips
    pixels: Annotated[int, Field(ge=32, le=224, multiple_of=32)]  # side of the input of a network that starts at random
    grey: bool  # the network sees grey pictures: right where all that it ever learnt from was grey
    jitter: JitterParams
    batch_images: Count
    val_fraction: Annotated[float, Field(gt=0, lt=1)]  # part of the training images


class ExtractVggParams(Section):
    """fc6 of every face."""

    relu: bool  # after the ReLU, or before
    flipped: bool  # of the mirrored faces, too


class FinetuneC3dParams(FinetuneParams):
    """Fine-tuning C3D on windows of 16 faces, section 2.4."""

    windows: Literal["central", "random", "all", "weighted", "maximum"]
    overlap: Overlap  # of the training windows
    uniform_epochs: WholeNumber  # epochs before the weights of equation 1 begin
    temperature_first: Positive  # T(t) = max(last, first * factor ** t) of equation 1, t from the first weighted epoch
    temperature_factor: Annotated[float, Field(gt=0, le=1)]
    temperature_last: Positive
    flip: bool
    batch_windows: Count


class ExtractC3dParams(ExtractVggParams):
    """The second fully connected layer of every window."""

    overlaps: tuple[Overlap, ...]


class ExtractAudioParams(Section):
    """openSMILE functionals of a clip's sound."""

    feature_set: str  # emobase2010, IS10, or the path of a configuration file
    sample_rate: Count  # Hz; the sound is resampled to it
