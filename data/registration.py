"""Faces onto their mean: how to shift, turn and scale each, without labels or landmarks.

`mean_face` is what faces are registered to, `estimate_transform` finds how one comes to lie on it,
`warp` does it. Lengths are in pixels of JAFFE's 256, of which a box has 161, whatever the image's
own size.
"""

import math

import numpy as np
from PIL import Image

from data.faces import MARGIN, SIDE

BOX_SIDE = 161
PATCH = 128  # the side of the small images that are compared
PATCH_BOX = PATCH / (1 + 2 * MARGIN)  # pixels of it that the box takes
SCALES = np.array([8, 8, 0.08, 0.08])  # units of shift x and y in pixels, angle in rad, log zoom
PENALTY = 0.1  # of a unit, beside faces of norm 1
LIMITS = np.array([12, 12, 0.2, math.log(1.25)])  # a transform beyond these is rejected
BLUR = 2.2  # pixels, standard deviation
GRID = np.mgrid[:SIDE, :SIDE].reshape(2, -1) + 0.5 - SIDE / 2  # rows, columns from the middle
WINDOW = np.exp(-((GRID / 20) ** 4).sum(0))  # fades hair and background


def mean_face(wide_crops):
    """What faces are registered to: their own mean.

    First the mean of the faces under their boxes, then that of the faces warped onto the first.

    Parameters
    ----------
    wide_crops : sequence of n `WideCrop`

    Returns
    -------
    float32 (2304,), mean 0, norm 1
    """
    blurred_patches = [blurred(patch) for patch in patches(wide_crops)]
    scaled = np.zeros((len(blurred_patches), 4))  # transforms in SCALES
    for rough in (True, False):
        seen = [normed(sample(transform, patch)[0])[0]
                for transform, patch in zip(scaled, blurred_patches)]
        mean, _ = normed(np.mean(seen, axis=0))
        if rough:
            scaled = [estimate_transform(patch, mean, accuracy=1e-2) / SCALES
                      for patch in blurred_patches]
    return mean.astype(np.float32)


def register(wide_crops, mean):
    """The transforms that bring faces onto a mean.

    Parameters
    ----------
    wide_crops : sequence of n `WideCrop`
    mean : float32 (2304,), of `mean_face`

    Returns
    -------
    float64 (n, 4), rows of `estimate_transform`
    """
    return np.stack([estimate_transform(blurred(patch), mean) for patch in patches(wide_crops)])


def estimate_transform(patch, mean, accuracy=1e-3):
    """The similarity transform that brings one face onto a mean.

    Least squares between the face and the mean, both of norm 1, with a penalty on the transform;
    solved by Levenberg and Marquardt's method.

    Parameters
    ----------
    patch : float32 (128, 128), `blurred`
    mean : (2304,), of `mean_face`
    accuracy : float, in SCALES: when to stop

    Returns
    -------
    float64 (4,): shift x and y in pixels of JAFFE's 256, angle in rad, log zoom. All are zero where
    the best ones lie outside LIMITS.
    """
    from scipy.optimize import least_squares

    down, right = np.gradient(patch)

    def residuals(scaled):
        values, _ = sample(scaled, patch)
        return np.concatenate([WINDOW * (normed(values)[0] - mean), PENALTY * scaled])

    def jacobian(scaled):
        values, by_row, by_column, (rows, columns) = sample(scaled, patch, down, right)
        face, norm = normed(values)
        changes = np.stack([by_column * PATCH_BOX / BOX_SIDE, by_row * PATCH_BOX / BOX_SIDE,
                            by_row * columns - by_column * rows,
                            by_row * rows + by_column * columns])
        changes -= changes.mean(1, keepdims=True)
        changes = (changes - np.outer(changes @ face, face)) / norm  # what `normed` makes of them
        return np.concatenate([(changes * SCALES[:, None] * WINDOW).T, PENALTY * np.eye(4)])

    solution = least_squares(residuals, np.zeros(4), jacobian, method="lm", xtol=accuracy,
                             ftol=accuracy / 10, max_nfev=50)
    transform = solution.x * SCALES
    return transform if (np.abs(transform) <= LIMITS).all() else np.zeros(4)


def warp(wide_crop, transform):
    """The face under a transform, resampled once, antialiased.

    Parameters
    ----------
    wide_crop : `WideCrop`
    transform : (4,), of `estimate_transform`

    Returns
    -------
    uint8 (48, 48)
    """
    x, y, angle, zoom = transform
    grey, side = wide_crop
    fine = SIDE * max(1, round(side / SIDE))  # samples, which the scaling to 48 then averages
    step = side / fine * np.exp(zoom)
    a, b = step * np.cos(angle), step * np.sin(angle)
    half, middle, pixel = fine / 2, len(grey) / 2, side / BOX_SIDE
    matrix = (a, -b, middle + x * pixel - (a - b) * half, b, a, middle + y * pixel - (a + b) * half)
    large = Image.fromarray(grey).transform((fine, fine), Image.Transform.AFFINE, matrix,
                                            Image.Resampling.BICUBIC)
    return np.asarray(large.resize((SIDE, SIDE), Image.Resampling.BILINEAR))


def registered_faces(images, wide_crops, transforms):
    """uint8 (n, 48, 48): each face under its transform, or as it is in `images` where `register`
    found none, which is all 0."""
    return np.stack([warp(wide_crop, transform) if transform.any() else image
                     for image, wide_crop, transform in zip(images, wide_crops, transforms)])


def patches(wide_crops):
    """uint8 (n, 128, 128): the wide crops made small, the box in the middle."""
    small = []
    for grey, side in wide_crops:
        middle, half = len(grey) / 2, side * (0.5 + MARGIN)
        small.append(np.asarray(Image.fromarray(grey).resize(
            (PATCH, PATCH), Image.Resampling.BILINEAR,
            (middle - half, middle - half, middle + half, middle + half))))
    return np.stack(small)


def blurred(patch):
    """float32 (128, 128) of a patch, without the detail that would catch the search."""
    from scipy import ndimage

    return ndimage.gaussian_filter(patch.astype(np.float32), BLUR * PATCH_BOX / BOX_SIDE)


def sample(scaled, *arrays):
    """What 48 x 48 pixels see of each array (128, 128) under a transform in SCALES, (2304,) each,
    and where they lie: rows and columns from the middle, before the shift."""
    from scipy import ndimage

    x, y, angle, zoom = scaled * SCALES
    turn = [[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]]
    turned = np.exp(zoom) * np.array(turn) @ GRID * PATCH_BOX / SIDE
    places = turned + np.array([[y], [x]]) * PATCH_BOX / BOX_SIDE + (PATCH - 1) / 2
    seen = [ndimage.map_coordinates(array, places, order=1, mode="nearest") for array in arrays]
    return *seen, turned


def normed(values):
    """(values with mean 0 and norm 1, their norm before)."""
    centred = values - values.mean()
    norm = np.linalg.norm(centred) + 1e-9
    return centred / norm, norm
