"""Faces that tell a classifier about others: equal and nearly equal ones, frames of one sequence.

On two sides of a split they make test faces known.
"""

import collections
import re

import numpy as np

from data.reading.words import base, counted_by, folders_of, stem
from utils import listed

TWIN = 1.5  # grey levels, mean over pixels, by which recompressed faces differ at most
# Rows and columns; the opposite shifts are found from a pair's other face.
SHIFTS = ((0, 0), (0, 1), (1, 0), (1, 1), (1, -1))
BLOCK = 8  # pixels
ENOUGH = 1000  # twins to be warned of
# A frame's number: at the end of a name that has another number, or all there is of it. One of one
# digit or two may be a take's.
FRAME = re.compile(r"(.*\d.*?)[_-](?:(?:frame|img|image)[_-]?\d+|\d{3,})", re.IGNORECASE)
FRAME_OR_TAKE = re.compile(r"(.*\d.*?)[_-]\d+")
FRAME_ALONE = re.compile(r"(?:frame|img|image)?[ _-]?\d+", re.IGNORECASE)


def twin_notes(faces):
    """Which of these `Faces` may make others known, or contradict them: sentences."""
    names, subjects, emotions, images = faces
    notes = []
    same_stem = stems_twice(names)
    if same_stem:
        notes.append(f"files of one name with two suffixes, A LEAK if they show the same and are "
                     f"on two sides of a split: {listed(same_stem, 3)}")
    equal, first_rows = equal_faces(images)
    contradictions = [f"{names[row]} ({emotions[row]}) and {names[other]} ({emotions[other]})"
                      for row, other in equal if emotions[row] != emotions[other]]
    if contradictions:
        notes.append(f"LABELS CONTRADICT EACH OTHER: the same pixels under two emotions; correct "
                     f"or remove one of {listed(contradictions, 3)}")
    equal = [(row, other) for row, other in equal if emotions[row] == emotions[other]]
    for pairs, kind in ((equal, "the same pixels"),
                        (near_twins(images, first_rows),
                         "nearly the same pixels (saved again, shifted or mirrored)")):
        if pairs:
            pairs = [f"{names[row]} as {names[other]}" for row, other in pairs]
            notes.append(f"{kind}, A LEAK if on two sides of a split: {listed(pairs, 3)}")
    frames = collections.Counter(zip(subjects.tolist(), sequences(names).tolist()))
    repeated = [sequence for (_, sequence), count in frames.items() if sequence and count > 1]
    if repeated:
        notes.append(f"frames of one sequence, A LEAK if on two sides of a split (loso and kfold "
                     f"keep a subject's together): {listed(repeated, 3)}")
    return notes


def stems_twice(names):
    """["KA.AN1.39.jpg and KA.AN1.39.tiff"]: files that differ in their suffix alone."""
    by_stem = collections.defaultdict(list)
    for name in names.tolist():
        by_stem[stem(name).casefold()].append(name)
    return [" and ".join(group) for group in by_stem.values() if len(group) > 1]


def equal_faces(images):
    """([(row, row of the first face with the same pixels)], rows of all first ones)."""
    first, pairs = {}, []
    for row, image in enumerate(images):
        other = first.setdefault(image.tobytes(), row)
        if other != row:
            pairs.append((row, other))
    return pairs, np.array(list(first.values()))


def near_twins(images, rows):
    """[(row, row of a face nearly the same)], among the images at `rows`."""
    images, pairs = images[rows], {}
    for row, other in nearly_equal(images, images):
        first, second = sorted((rows[row], rows[other]))
        pairs.setdefault(second, first)
    return sorted(pairs.items())


def twins_across(images, others):
    """[(row of images, row of others)]: faces of one that are nearly the same in the other."""
    pairs = [*nearly_equal(images, others)]
    pairs += [(row, other) for other, row in nearly_equal(others, images)]
    return sorted(set(pairs))


def nearly_equal(images, others):
    """Yield (row of images, row of others) of faces saved again, mirrored, or shifted by a pixel;
    one face of a pair is shifted right or down.

    A face's means over 8 x 8 blocks are 25 numbers that hardly change when it is saved again. A
    tree of them finds the nearest face of each, for each shift, without comparing all with all:
    35,000 faces take some seconds. What is near is compared pixel by pixel. eps=1: a face at most
    twice as far as the nearest will do, which spares a search among thousands that are alike.
    """
    from scipy.spatial import cKDTree

    itself = images is others  # then the nearest but one is asked for
    tree, count = cKDTree(block_means(middle_of(others))), 0
    for shifted in (middle_of(images[..., ::-1]), *(middle_of(images, *shift) for shift in SHIFTS)):
        _, nearest = tree.query(block_means(shifted), k=[1, 2] if itself else [1], eps=1,
                                distance_upper_bound=5 * TWIN, workers=-1)
        for row, column in zip(*np.nonzero(nearest < len(others))):
            row, other = int(row), int(nearest[row, column])
            difference = shifted[row].astype(int) - middle_of(others[other])
            if np.abs(difference).mean() <= TWIN and not (itself and row == other):
                count += 1
                yield row, other
        if count > ENOUGH:
            return


def middle_of(images, down=0, right=0):
    """(..., 40, 40) of (..., 48, 48), shifted."""
    return images[..., 4 + down:44 + down, 4 + right:44 + right]


def block_means(images):
    """float32 (n, 25) of (n, 40, 40)."""
    blocks = images.reshape(len(images), 5, BLOCK, 5, BLOCK)
    return blocks.mean((2, 4), dtype=np.float32).reshape(len(images), 25)


def sequences(names):
    """Which sequence each face is a frame of, where names tell.

    Parameters
    ----------
    names : str (n,), paths with "/"

    Returns
    -------
    str (n,): "S010_004" of S010_004_00000017.png, "001/anger/take000" of
    001/anger/take000/img_0000.jpg, "" where the name tells of none. A number of one digit or two
    is a frame's if three names of one folder differ in nothing else
    """
    names, result = np.asarray(names).tolist(), []
    takes = [FRAME_OR_TAKE.fullmatch(stem(name)) for name in names]
    counts = collections.Counter(match[1] for match in takes if match)
    for name, take in zip(names, takes):
        match, folders = FRAME.fullmatch(base(stem(name))), folders_of(name)
        if match:
            result.append(match[1])
        elif take and counts[take[1]] > 2:
            result.append(base(take[1]))
        elif FRAME_ALONE.fullmatch(base(stem(name))) and \
                any(len(folder) > 1 and counted_by(folder) for folder in folders[-2:]):
            result.append("/".join(folders))
        else:
            result.append("")
    return np.array(result, str)
