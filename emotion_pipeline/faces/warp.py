"""The similarity transform that makes a face upright, centred and of one size."""

import cv2
import numpy as np
from jaxtyping import Float, Float64, UInt8

FACE_SIDE = 224  # pixels of a crop along each side: the input of VGG-16

Picture = UInt8[np.ndarray, "h w 3"]
Crop = UInt8[np.ndarray, "224 224 3"]  # an aligned face, RGB
Transform = Float64[np.ndarray, "2 3"]

LEFT_EYE, RIGHT_EYE = slice(36, 42), slice(42, 48)  # as seen in the frame
STEADY = np.r_[36:48, 27:36]
"""Eyes and nose: the landmarks that speech and expression move least. They alone place the face."""

MEAN_SHAPE = np.array(
    [
        [-0.696, 0.008], [-0.574, -0.083], [-0.422, -0.081], [-0.293, 0.032], [-0.432, 0.062], [-0.583, 0.062],
        [0.293, 0.032], [0.422, -0.081], [0.574, -0.083], [0.696, 0.008], [0.583, 0.062], [0.432, 0.062],
        [0.0, -0.037], [0.0, 0.177], [0.0, 0.390], [0.0, 0.613],
        [-0.231, 0.790], [-0.120, 0.831], [0.0, 0.866], [0.120, 0.831], [0.231, 0.790],
    ]
)  # fmt: skip
"""The STEADY landmarks of a mean face: eye centres at (-0.5, 0) and (0.5, 0), y downwards.

Mean of dlib's landmarks over 79 frontal faces (48 of the Javanese video data set, 31 of dlib's example photographs),
turned upright and made symmetric.
"""

FACE_TOP, FACE_BOTTOM = -0.436, 2.164
"""Upper edge of the brows and tip of the chin of the same mean face: the height of the tight face box."""

BORDERS = {"replicate": cv2.BORDER_REPLICATE, "black": cv2.BORDER_CONSTANT}


def mean_shape_in_crop(margin: float) -> Float64[np.ndarray, "21 2"]:
    """Return where the STEADY landmarks of the mean face lie in the crop.

    Brows to chin is centred and takes 1 / (1 + 2 margin) of the height.
    """
    scale = FACE_SIDE / ((FACE_BOTTOM - FACE_TOP) * (1 + 2 * margin))
    centre = np.array([0, (FACE_TOP + FACE_BOTTOM) / 2])
    return (MEAN_SHAPE - centre) * scale + (FACE_SIDE - 1) / 2


def level_similarity(points: Float[np.ndarray, "68 2"], target: Float[np.ndarray, "21 2"]) -> Transform:
    """Return A, x -> A[:, :2] x + A[:, 2], that levels the eyes and best fits `points[STEADY]` to `target`.

    Its rotation makes the line through the eye centres (each the mean of six landmarks) level; scale and shift are
    the least squares solution under that rotation, in closed form as in Umeyama 1991. The rotation is not part of
    the fit, since the nose of a head turned sideways would tilt the face.
    """
    points = points.astype(np.float64)
    along = points[RIGHT_EYE].mean(axis=0) - points[LEFT_EYE].mean(axis=0)
    cosine, sine = along / np.linalg.norm(along)
    rotation = np.array([[cosine, sine], [-sine, cosine]])
    turned = points[STEADY] @ rotation.T
    centre, target_centre = turned.mean(axis=0), target.mean(axis=0)
    inner = turned - centre
    scale = (inner * (target - target_centre)).sum() / (inner**2).sum()
    return np.column_stack([scale * rotation, target_centre - scale * centre])


def warp_face(frame: Picture, landmarks: Float[np.ndarray, "68 2"], margin: float, border: str) -> Crop:
    """Return the crop of a face, upright. What lies outside the frame is filled according to `border`."""
    transform = level_similarity(landmarks, mean_shape_in_crop(margin))
    shrink = int(1 / np.hypot(transform[0, 0], transform[0, 1]))
    if shrink > 1:  # a face of twice the size or more: average pixels first, so that nothing is skipped
        frame, transform = _shrunk(frame, transform, shrink)
    return cv2.warpAffine(frame, transform, (FACE_SIDE, FACE_SIDE), flags=cv2.INTER_LINEAR, borderMode=BORDERS[border])


def _shrunk(frame: Picture, transform: Transform, factor: int) -> tuple[np.ndarray, Transform]:
    """Return a smaller frame and the transform that does to it what the given one does to the whole."""
    height, width = frame.shape[:2]
    small = cv2.resize(frame, (width // factor, height // factor), interpolation=cv2.INTER_AREA)
    step = np.array([width / small.shape[1], height / small.shape[0]])
    linear = transform[:, :2] * step
    return small, np.column_stack([linear, transform[:, 2] + transform[:, :2] @ (step - 1) / 2])
