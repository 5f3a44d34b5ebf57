"""From files to arrays: `load_faces` reads every face of a data set, cuts it to its box and scales
it to 48 x 48."""

import collections
import contextlib
import functools
import hashlib
import io
import itertools
import math
import re
import warnings
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

import utils
from data import standin
from data.reading import read
from data.reading.datasets import DATASETS
from data.reading.files import Entry, file_at
from data.reading.tables import MIN_SIDE
from data.reading.words import base, meaning, same_spelling, unified
from data.twins import twin_notes, twins_across
from utils import Problem, listed

SIDE = 48  # pixels; the paper's face size
MARGIN = 0.3  # of a box's side, around it: what registration may look at
JAFFE_EMOTIONS = {"AN": 30, "DI": 29, "FE": 32, "HA": 31, "NE": 30, "SA": 31, "SU": 30}
JAFFE_SUBJECTS = {"KA": 23, "KL": 22, "KM": 22, "KR": 20, "MK": 21, "NA": 21, "NM": 20, "TM": 21,
                  "UY": 21, "YM": 22}
JAFFE_SIZE = (256, 256)
JAFFE_BOX = "50,65,161"  # x, y, side in pixels: where the paper's Haar cascade finds JAFFE's faces
JAFFE_MD5 = "fe13f3302eb9968ef04367456f665436"
FORMATS = ("TIFF", "PNG", "JPEG", "BMP", "WEBP", "PPM", "GIF")  # which Pillow reads by itself


class WideCrop(NamedTuple):
    """A face with what is around it: in its middle the box of `side` pixels."""

    grey: np.ndarray  # uint8 (s, s)
    side: float


class Faces(NamedTuple):
    """n faces in the order of their names."""

    names: np.ndarray  # str (n,)
    subjects: np.ndarray  # str (n,), "" where it is not known who it is
    emotions: np.ndarray  # str (n,)
    images: np.ndarray  # uint8 (n, 48, 48)

    def take(self, rows):
        """The faces at `rows`, as a copy that holds no others."""
        return Faces(*(array[rows] for array in self))


class DataSet(NamedTuple):
    """All faces of a data set, and what came with them."""

    faces: Faces
    wide_crops: np.ndarray  # n `WideCrop`, for registration alone
    splits: np.ndarray  # str (n,): "train", "test", or "" where the data brings no split
    name: str  # "JAFFE", "standin" or the name of its folder or file
    drawn: bool  # whether any of them is the stand-in's
    crop: str
    notes: list  # what is odd about the faces: sentences


def as_input(images):
    """float32 (n, 48, 48, 1) in [0, 1], as the networks take them, of uint8 (n, 48, 48)."""
    return (images / np.float32(255))[..., None]


def default_data():
    """JAFFE where data/README.md says to put it, or whatever begins with its name there, else the
    drawn stand-in."""
    folder = utils.ROOT / "data"
    places = [place for place in folder.glob("*") if place.name.lower().startswith("jaffe")
              and (place.is_dir() or place.suffix.lower() == ".zip")]
    usual = ("jaffe", "jaffe.zip")
    return min(places, default=folder / "standin",
               key=lambda place: (place.name.lower() not in usual, len(place.name), place.name))


def load_faces(path, crop="", subject="", emotion="", labels="", complete=True,
               fallback_crop="square", subject_optional=False, option="--data"):
    """Read all faces of a data set, in the order of their file names.

    Parameters
    ----------
    path : a folder, a zip or a table
    crop : "X,Y,SIDE" in pixels, "square" (the largest centred one), "none" (the whole image) or "":
        a manifest's own boxes, JAFFE's for JAFFE and the stand-in, else `fallback_crop`
    subject, emotion : regular expressions that find the subject, or the emotion, in a file's name
        or else in its path: their first group that is not empty or, without groups, the match
    labels : "angry=anger,contempt=": labels to be merged or renamed, or faces to be left out
    complete : whether these are all faces there are, and not training or test faces for others:
        then there have to be two emotions, and each label renamed has to occur
    fallback_crop : "square" or "none"
    subject_optional : whether `subject` may match none of the names; it is then not used
    option : what gave the path, for messages

    Returns
    -------
    DataSet

    Raises
    ------
    Problem
        for what cannot be read
    """
    path = Path(path)
    entries, notes = read(path, emotion=emotion, subject=subject, option=option, labels=labels,
                          subject_optional=subject_optional)
    # By file name first: the published split depends on it, and layouts differ in folders only.
    entries.sort(key=lambda entry: (base(entry.name), entry.name))
    for entry, other in itertools.pairwise(entries):
        if entry.name == other.name:
            raise Problem(f"{other.place}: {entry.name} a second time; remove one")
    emotions, label_notes = unified([entry.emotion for entry in entries], labels, complete)
    if not emotions.any():
        raise Problem(f"--labels {labels}: leaves no face; leave fewer emotions out")
    entries = [entry for entry, label in zip(entries, emotions) if label]
    emotions = emotions[emotions != ""]
    codes = np.array([entry.emotion.strip().upper() for entry in entries])  # if it is JAFFE
    subjects, subject_notes = unified_subjects([entry.subject for entry in entries])
    if subject and subjects.any():
        counts = collections.Counter(subjects.tolist())
        subject_notes.append(f"--subject finds {len(counts)} subjects: " + listed(
            [f"{name} {count}" for name, count in sorted(counts.items())], 8))
    splits, split_notes = train_and_test([entry.split for entry in entries])
    jaffe = is_jaffe(subjects, codes)
    crop_notes = []
    if not crop:
        crop = default_crop(entries, jaffe, fallback_crop)
        if jaffe and crop == fallback_crop:
            crop_notes = [f"JAFFE's box is for images of 256 x 256 pixels, as it is distributed; "
                          f"these are framed by {crop}, unless --crop X,Y,SIDE is given"]
    images, wide_crops, drawn, image_notes = read_images(entries, crop)
    faces = Faces(np.array([entry.name for entry in entries]), subjects, emotions, images)
    if complete:
        require_emotions(faces)
        notes += split_notes  # elsewhere all train, or all test
    notes += label_notes + subject_notes + crop_notes + image_notes
    notes += oddities(faces, splits)
    if jaffe and not drawn:
        notes += jaffe_oddities(subjects, codes, path)
    name = "standin" if drawn else "JAFFE" if jaffe else name_of(path)
    return DataSet(faces, wide_crops, splits, name, bool(drawn), crop, notes)


def name_of(path):
    """A data set's name from that of its folder or file, which makes no JAFFE."""
    name = path.resolve().name if path.is_dir() else path.resolve().stem
    name = re.sub(r"[^\w-]+", "-", name) or "faces"
    return name + "-faces" if name.lower() in ("jaffe", "standin") else name


def unified_subjects(subjects):
    """(str (n,), notes): names that differ in case or in the encoding of accents are one subject's.
    """
    spellings = {}
    for subject, _ in collections.Counter(subjects).most_common():
        spellings.setdefault(same_spelling(subject), []).append(subject)
    twice = [" = ".join(names) for names in spellings.values() if len(names) > 1]
    notes = [f"subjects with two spellings: {listed(twice, 3)}"] if twice else []
    return np.array([spellings[same_spelling(subject)][0] for subject in subjects]), notes


def default_crop(entries, jaffe, fallback_crop):
    """The framing where none is asked for. A part of JAFFE, or JAFFE in a table, is known by its
    names."""
    if any(entry.box for entry in entries):
        for entry in entries:
            if not entry.box:
                raise Problem(f"{entry.place}: has no box, others have; give one to all, or "
                              f"--crop square or none")
        return "manifest"
    pattern = re.compile(DATASETS["JAFFE"].names, re.IGNORECASE)
    names = [pattern.fullmatch(base(entry.name)) for entry in entries]
    jaffe = jaffe or all(match and match["subject"] in JAFFE_SUBJECTS for match in names)
    with contextlib.suppress(OSError, ValueError):  # which `read_images` tells
        if jaffe and decode(entries[0].read()).grey.size == JAFFE_SIZE:
            return JAFFE_BOX
    return fallback_crop


def load_photo(path, crop, size=None):
    """(uint8 (48, 48), `WideCrop`, notes) of one image file, framed as `load_faces` frames.

    size: (width, height) of the images that `crop` is for; of others the centred square is taken.
    """
    file = file_at(path)
    if not Path(path).is_file():
        raise Problem(f"{file.place}: " + ("is a folder; give its files" if Path(path).is_dir()
                                           else "no such file"))
    with contextlib.suppress(OSError, ValueError):  # which `read_images` tells
        if size and decode(file.read()).grey.size != size:
            crop = "square"
    images, wide_crops, _, notes = read_images(
        [Entry(file.name, "", "", "", (), file.read, file.place)], crop)
    return images[0], wide_crops[0], notes


def with_test_set(data_set, other):
    """A `DataSet` whose faces all train and those of another data set all test, as subjects of
    their own. Test faces of an emotion that no training face shows are left out.

    Raises `Problem` if none is left, or if a test face is a training face.
    """
    trained = np.unique(data_set.faces.emotions).tolist()
    spelling = {same_spelling(emotion): emotion for emotion in trained}
    emotions = np.array([spelling.get(same_spelling(emotion), emotion)
                         for emotion in other.faces.emotions.tolist()])
    known = np.isin(emotions, trained)
    left_out = np.unique(emotions[~known]).tolist()
    renamed = ",".join(f"{emotion}={alike}" for emotion in left_out for alike in trained
                       if meaning(emotion) and meaning(emotion) == meaning(alike))
    way_out = f"rename them with --labels {renamed or 'THEIRS=OURS'}"
    if not known.any():
        raise Problem(f"{other.name}: has none of the emotions of {data_set.name} "
                      f"({listed(trained, 8)}) but {listed(left_out, 8)}; {way_out}")
    notes = [*data_set.notes, *other.notes, f"all test faces are those of {other.name}"]
    if left_out:
        notes.append(f"{(~known).sum()} test faces are left out, whose emotions no training face "
                     f"shows: {listed(left_out, 8)}" + (f"; {way_out}" if renamed else ""))
    if other.crop != data_set.crop:
        notes.append(f"training faces are framed by {data_set.crop}, test faces by {other.crop}")
    test = other.faces._replace(emotions=emotions).take(known)
    seen = {image.tobytes(): name for name, image in zip(data_set.faces.names.tolist(),
                                                         data_set.faces.images)}
    for name, image in zip(test.names.tolist(), test.images):
        if image.tobytes() in seen:
            raise Problem(f"{name} of {other.name}: has the same pixels as the training face "
                          f"{seen[image.tobytes()]}; remove it from one of the data sets")
    twins = [f"{test.names[row]} as {data_set.faces.names[twin]}"
             for row, twin in twins_across(test.images, data_set.faces.images)]
    test = test._replace(
        names=np.array([f"test set/{name}" for name in test.names.tolist()]),
        subjects=np.array([subject and f"{subject} (test set)"
                           for subject in test.subjects.tolist()]))
    faces = Faces(*(np.concatenate(arrays) for arrays in zip(data_set.faces, test)))
    splits = np.repeat(["train", "test"], [len(data_set.splits), len(test.names)])
    if twins:
        notes.append(f"test faces of nearly the same pixels as training faces, A LEAK: "
                     f"{listed(twins, 3)}")
    return data_set._replace(faces=faces, splits=splits, notes=notes,
                             drawn=data_set.drawn or other.drawn, wide_crops=np.concatenate(
                                 [data_set.wide_crops, other.wide_crops[known]]))


def fingerprint(data_set):
    """What tells a data set from every other.

    Parameters
    ----------
    data_set : DataSet

    Returns
    -------
    str : 16 hexadecimal digits that change with any name, label, split or pixel under the box
    """
    faces = data_set.faces
    texts = (faces.names, faces.subjects, faces.emotions, data_set.splits)
    return utils.digest(faces.images, *("\0".join(column) for column in texts))


def is_jaffe(subjects, emotions):
    """Whether these are JAFFE's faces, though some may be missing."""
    by_subject = collections.Counter(subjects.tolist())
    by_emotion = collections.Counter(emotions.tolist())
    return len(subjects) > 0.8 * sum(JAFFE_SUBJECTS.values()) and \
        by_subject <= collections.Counter(JAFFE_SUBJECTS) and \
        by_emotion <= collections.Counter(JAFFE_EMOTIONS)


def jaffe_oddities(subjects, emotions, path):
    """What is not as in the official JAFFE: sentences."""
    notes = []
    for expected, texts in ((JAFFE_EMOTIONS, emotions), (JAFFE_SUBJECTS, subjects)):
        counts = collections.Counter(texts.tolist())
        for key, count in expected.items():
            if counts[key] != count:
                notes.append(f"THIS IS NOT THE WHOLE OF JAFFE: {counts[key]} faces of {key}, it "
                             f"has {count}")
    if path.is_file() and path.suffix.lower() == ".zip" and \
            hashlib.md5(path.read_bytes()).hexdigest() != JAFFE_MD5:
        notes.append(f"{path.name} is not the official jaffe.zip, of MD5 {JAFFE_MD5}")
    return notes


def train_and_test(splits):
    """(str (n,) of "train", "test" and "", notes): validation faces train where others test."""
    if "val" in splits and "test" not in splits:
        return (np.array(["test" if split == "val" else split for split in splits]),
                ["the data's own split has no test faces: under --protocol given its validation "
                 "faces test instead"])
    return np.array(["train" if split == "val" else split for split in splits]), []


def require_emotions(faces):
    """Raise `Problem` unless there are two emotions, each of two faces."""
    by_emotion = collections.Counter(faces.emotions.tolist())
    if len(by_emotion) < 2:
        raise Problem(f"all faces show {faces.emotions[0]}; a classifier needs at least two "
                      f"emotions")
    for name, emotion in zip(faces.names, faces.emotions):
        if by_emotion[emotion] == 1:
            raise Problem(f"{name}: the only face of emotion {emotion}; correct the label, add "
                          f"faces or remove this one")


def oddities(faces, splits):
    """What a reader of the results has to know: sentences."""
    by_emotion = collections.Counter(faces.emotions.tolist())
    subjects = collections.Counter(faces.subjects.tolist())
    notes = twin_notes(faces)
    if subjects[""]:
        notes.append("it is not known who is who: the same people may be on both sides of a split; "
                     "--subject PATTERN takes it from names that tell")
    else:
        shown = set(zip(faces.subjects, faces.emotions))
        missing = [f"{subject} {emotion}" for subject in subjects for emotion in by_emotion
                   if (subject, emotion) not in shown]
        if missing:
            notes.append(f"no face of this person with this emotion: {listed(missing, 8)}")
    divided = {subject for subject in subjects
               if subject and len(set(splits[faces.subjects == subject])) > 1}
    if divided:
        notes.append(f"on both sides of the data's own split: {listed(sorted(divided), 3)}")
    return notes


# ---------------------------------------------------------------------------------------- images
class Photo(NamedTuple):
    """An image that has been decoded."""

    grey: Image.Image  # mode L, upright
    drawn: bool  # by standin.py
    brightest: int  # of 16-bit greys, 0 for others
    transparent: bool


def read_images(entries, crop):
    """(images uint8 (n, 48, 48), n `WideCrop`, number of drawn ones, notes) of entries.

    Raises `Problem` with all the images that cannot be read.
    """
    images, wide_crops, sizes, unreadable = [], [], collections.Counter(), []
    brightest, deep, drawn, transparent = 0, [], 0, 0
    for row, entry in enumerate(entries):
        try:
            photo = decode(entry.read())
        except (OSError, ValueError) as error:
            unreadable.append((entry.place, getattr(error, "strerror", None) or error))
            continue
        if unreadable:
            continue
        sizes[photo.grey.size] += 1
        drawn += photo.drawn
        transparent += photo.transparent
        if photo.brightest:
            brightest = max(brightest, photo.brightest)
            deep.append(row)
        image, wide_crop = framed(entry, photo.grey, crop)
        images.append(image)
        wide_crops.append(wide_crop)
    if len(unreadable) == 1:
        raise Problem("{}: cannot be read as an image ({}); replace or remove the file".format(
            *unreadable[0]))
    if unreadable:
        reasons = listed([f"{place} ({reason})" for place, reason in unreadable], 20)
        raise Problem(f"{len(unreadable)} images cannot be read: {reasons}; replace or remove them")
    notes = []
    if transparent:
        notes.append(f"{transparent} images are transparent in places and were laid on white")
    white = next(2**bits - 1 for bits in (8, 10, 12, 14, 16) if brightest < 2**bits)
    if deep and white < 65535:  # of files of 16 bits, all of which a camera has not used
        notes.append(f"16-bit images reach {brightest} of 65535 at most: {white} is taken as white")
        for row in deep:
            photo = decode(entries[row].read(), white)
            images[row], wide_crops[row] = framed(entries[row], photo.grey, crop)
    notes += size_notes(sizes, crop)
    return np.stack(images), np.fromiter(wide_crops, object), drawn, notes


def size_notes(sizes, crop):
    notes = []
    if len(sizes) > 1:
        ends = [f"{width} x {height}" for width, height in (min(sizes), max(sizes))]
        notes.append(f"images of {len(sizes)} sizes, {ends[0]} to {ends[1]}, are framed by {crop}: "
                     f"look at report/faces.png")
    oblong = {size: 1 - min(size) / max(size) for size in sizes if max(size) > 1.05 * min(size)}
    if crop == "square" and oblong:
        (width, height), lost = max(oblong.items(), key=lambda item: item[1])
        notes.append(f"the largest centred square is cut out of {sum(map(sizes.get, oblong))} "
                     f"images that are not square: {lost:.0%} of {width} x {height} pixels is "
                     f"lost; where faces lie elsewhere, cut them out first, or give boxes in a CSV")
    if crop == "none" and any(width != height for width, height in sizes):
        notes.append("images that are not square are squeezed; --crop square cuts them instead")
    return notes


def decode(content, white=65535):
    """The `Photo` in a file's bytes, or of an image that a table's pixels made.

    white: the value of 16-bit images that is white. Raises ValueError with the reason.
    """
    if isinstance(content, Image.Image):
        return Photo(content, False, 0, False)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # old TIFFs have odd metadata around sound pixels
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            opened = Image.open(io.BytesIO(content), formats=FORMATS)
            opened.load()
            # A telephone's MPO has the photograph first, then smaller ones.
            frames = 1 if opened.format in ("JPEG", "MPO") else getattr(opened, "n_frames", 1)
            drawn = opened.format == "TIFF" and opened.tag_v2.get(270) == standin.DESCRIPTION
            image = ImageOps.exif_transpose(opened)
            deep = image.mode.startswith("I;16") or \
                (image.mode == "I" and opened.format in ("PNG", "PPM"))
            brightest, transparent = 0, False
            if deep:
                greys = np.asarray(image)
                brightest = int(greys.max())
                image = Image.fromarray((greys / (white / 255) + 0.5).clip(0, 255)
                                        .astype(np.uint8))
            elif image.has_transparency_data:
                image = image.convert("RGBA")
                transparent = image.getextrema()[3][0] < 255
                backdrop = Image.new("RGBA", image.size, "white")
                image = Image.alpha_composite(backdrop, image).convert("RGB")
            if image.mode not in ("I", "F"):
                image = image.convert("L")  # through the palette where there is one
    except UnidentifiedImageError:
        raise ValueError("no image, or of a format that is not known") from None
    except Exception as error:  # a damaged image fails in as many ways as there are decoders
        raise ValueError(str(error) or type(error).__name__) from error
    if frames != 1:
        raise ValueError(f"holds {frames} pictures; save one of them as 8-bit grey")
    if image.mode != "L":
        raise ValueError(f"mode {image.mode} has no fixed white; save it as 8-bit grey")
    return Photo(image, drawn, brightest, transparent)


def framed(entry, grey, crop):
    """(uint8 (48, 48) under the box, `WideCrop`) of one image.

    The paper's way: cut, then scale, bilinear over the area that shrinks.
    """
    cut = CROPS.get(crop, functools.partial(fixed_box, crop=crop))
    grey, (x, y, side) = cut(entry, grey)
    image = grey.crop((x, y, x + side, y + side)).resize((SIDE, SIDE), Image.Resampling.BILINEAR)
    margin = math.ceil(MARGIN * side)
    left, top = max(0, x - margin), max(0, y - margin)
    around = np.asarray(grey.crop((left, top, min(grey.width, x + side + margin),
                                   min(grey.height, y + side + margin))))
    before = margin - (y - top), margin - (x - left)
    around = np.pad(around, [(b, side + 2 * margin - b - n) for b, n in zip(before, around.shape)],
                    "edge")
    if side > 8 * SIDE:  # more than registration and 48 pixels can use
        small = round(len(around) * 4 * SIDE / side)
        side *= small / len(around)
        around = np.asarray(Image.fromarray(around).resize((small, small), Image.Resampling.BOX))
    return np.asarray(image), WideCrop(around, side)


def fixed_box(entry, grey, crop):
    """"X,Y,SIDE", which has to lie in the image."""
    x, y, side = map(int, crop.split(","))
    if not side or x + side > grey.width or y + side > grey.height:
        raise Problem(f"{entry.place}: {grey.width} x {grey.height} pixels, too small for the box "
                      f"{x},{y},{side}; correct it, or give --crop square or none")
    return grey, (x, y, side)


def whole_image(entry, grey):
    side = max(grey.size)
    return grey.resize((side, side), Image.Resampling.BILINEAR), (0, 0, side)


def centred_square(entry, grey):
    side = min(grey.size)
    return grey, ((grey.width - side) // 2, (grey.height - side) // 2, side)


def own_box(entry, grey):
    """A table's box, rounded to pixels: the image's edge is repeated where a detector's box goes
    over it."""
    x, y, side = (round(value) for value in entry.box)
    width, height = grey.size
    if side < MIN_SIDE or side > 2 * max(width, height) or \
            not (0 <= x + side / 2 <= width and 0 <= y + side / 2 <= height):
        raise Problem(f"{entry.place}: {width} x {height} pixels, no face in the box "
                      f"{x},{y},{side}; correct it, or give --crop square or none")
    over = max(0, -x, -y, x + side - width, y + side - height)
    if over:
        grey = Image.fromarray(np.pad(np.asarray(grey), over, "edge"))
    return grey, (x + over, y + over, side)


# What --crop may be beside X,Y,SIDE: (entry, image) to the image and the box (x, y, side) in it.
CROPS = {"none": whole_image, "square": centred_square, "manifest": own_box}
