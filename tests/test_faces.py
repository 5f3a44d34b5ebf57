"""Reading faces: layouts, formats, framing, registration. What is refused is in test_bad_input.py."""

import csv
import io
import shutil
import zipfile

import numpy as np
import pytest
from conftest import REAL_FACES, draw_tiny, drawn_faces
from PIL import Image

from data import experiment, standin
from data import faces as data

GREY = (np.add.outer(np.arange(256), np.arange(256)) // 2).astype(np.uint8)
LONG = {"AN": "angry", "HA": "happy", "SU": "surprise"}


def loaded(image, crop=data.JAFFE_BOX, **options):
    """uint8 (48, 48) of an image saved in its `format`."""
    stream = io.BytesIO()
    image.save(stream, **options)
    entry = data.Entry("a", "", "", "", (), stream.getvalue, "a")
    return data.framed(entry, data.decode(entry)[0], crop)[0]


def test_crop_box_and_resize_are_the_papers():
    expected = Image.fromarray(GREY).crop((50, 65, 211, 226)).resize((48, 48), Image.Resampling.BILINEAR)
    face = loaded(Image.fromarray(GREY), format="TIFF")
    assert face.dtype == np.uint8 and np.array_equal(face, np.asarray(expected))
    assert abs(face[23:25, 23:25].mean() - 137.25) < 0.6  # of the gradient (x + y) / 2 at (130, 145)


def test_every_mode_and_format_gives_the_same_face():
    plain = loaded(Image.fromarray(GREY), format="TIFF").astype(int)
    palette = Image.fromarray((GREY + 77).astype(np.uint8), "P")  # index k stands for grey k - 77
    palette.putpalette(bytes(np.repeat((np.arange(256) - 77) % 256, 3).astype(np.uint8)))
    turned = Image.fromarray(np.rot90(GREY).copy())  # 90 degrees to the left, and the tag that says so
    exif = turned.getexif()
    exif[274] = 6
    sixteen = Image.fromarray(GREY.astype(np.uint16) * 257)
    big_endian = Image.frombytes("I;16B", (256, 256), (GREY.astype(">u2") * 257).tobytes())
    for image, form, off in ((palette, "TIFF", 0), (palette, "PNG", 0), (sixteen, "PNG", 1),
                             (big_endian, "TIFF", 1), (Image.fromarray(GREY).convert("RGB"), "BMP", 0),
                             (Image.fromarray(GREY), "PPM", 0), (Image.fromarray(GREY), "JPEG", 3),
                             (Image.fromarray(GREY).convert("RGB"), "WEBP", 6)):
        assert np.abs(loaded(image, format=form) - plain).max() <= off, (form, image.mode)
    assert np.abs(loaded(turned, format="PNG", exif=exif) - plain).max() == 0


def test_crops():
    wide = Image.fromarray(GREY).resize((300, 200))
    square = loaded(wide, "square", format="PNG")
    assert np.array_equal(square, loaded(wide, "50,0,200", format="PNG"))
    assert np.array_equal(loaded(Image.fromarray(GREY), "none", format="PNG"),
                          loaded(Image.fromarray(GREY), "square", format="PNG"))
    assert np.abs(loaded(wide, "none", format="PNG").astype(int) - np.asarray(
        Image.fromarray(GREY).resize((48, 48), Image.Resampling.BILINEAR))).max() <= 3


def layouts(folder):
    """The same 36 drawn faces in every layout: [(what --data gets, options)]."""
    images = drawn_faces()
    draw_tiny(folder / "names")
    with zipfile.ZipFile(folder / "zipped.zip", "w") as packed:
        for file in (folder / "names").iterdir():
            packed.write(file, f"../deep/{file.name}")
        packed.writestr("__MACOSX/._AA.AN1.png", b"resource fork")
    tables = {"listed": [], "split": []}
    for (subject, emotion, take), image in images.items():
        file = f"{subject}.{emotion}{take}.png"
        name, part = f"{subject}_{emotion}{take}.png", "Test" if take == 3 else "Training"
        for place in (f"folders/{LONG[emotion]}", f"parts/{part}/{LONG[emotion]}"):
            (folder / place).mkdir(parents=True, exist_ok=True)
            shutil.copy(folder / "names" / file, folder / place / name)
        tables["listed"].append({"File": f"names/{file}", " Emotion": LONG[emotion], "subject": f"Ms {subject}"})
        tables["split"].append({"file": f"names/{file}", "emotion": LONG[emotion], "subject": subject,
                                "split": part, "x": 50, "y": 65, "side": 161})
    for name, delimiter in (("listed", ";"), ("split", ",")):
        with open(folder / f"{name}.csv", "w", encoding="utf-8-sig", newline="") as stream:
            table = csv.DictWriter(stream, tables[name][0], delimiter=delimiter)
            table.writeheader()
            table.writerows(reversed(tables[name]))
    box = {"crop": data.JAFFE_BOX}
    by_name = {**box, "subject": r"^(?:.*/)?(\w\w)_"}
    return [("names", box), ("zipped.zip", box), ("folders", by_name), ("parts", by_name),
            ("listed.csv", box), ("split.csv", {})]


def test_every_layout_gives_the_same_arrays(tmp_path):
    before, plain = None, None
    for path, options in layouts(tmp_path):
        before = before or set(tmp_path.rglob("*"))
        found = data.load_faces(tmp_path / path, **options)
        faces = found.faces
        plain = plain or faces
        assert np.array_equal(faces.images, plain.images) and len(faces.names) == 36
        assert [who[-2:] for who in faces.subjects] == plain.subjects.tolist()
        assert [LONG.get(emotion, emotion) for emotion in faces.emotions] == [LONG[e] for e in plain.emotions]
        assert [(faces.parts == part).sum() for part in ("train", "test", "")] == (
            [24, 12, 0] if path in ("parts", "split.csv") else [0, 0, 36])
        assert found.crop == options.get("crop", "manifest")
    assert set(tmp_path.rglob("*")) == before  # nothing was unpacked


def write_fer2013(path, counts):
    """FER2013's CSV with noise in it: counts of Training, PublicTest, PrivateTest rows."""
    rng = np.random.default_rng(3)
    with open(path, "w") as stream:
        print("emotion,pixels,Usage", file=stream)
        for usage, count in zip(("Training", "PublicTest", "PrivateTest"), counts):
            for row in range(count):
                pixels = rng.integers(0, 256, 48 * 48, dtype=np.uint8)
                print(f"{row % 7},{' '.join(map(str, pixels))},{usage}", file=stream)
    return path


def test_fer2013(tmp_path):
    found = data.load_faces(write_fer2013(tmp_path / "fer2013.csv", (28, 7, 14)))
    assert found.crop == "square" and "it is not known who is who" in found.notes[0]
    assert found.faces.parts.tolist() == ["train"] * 35 + ["test"] * 14
    assert found.faces.emotions[:7].tolist() == list(data.FER2013)
    row = (tmp_path / "fer2013.csv").read_text().splitlines()[3].split(",")[1]
    assert found.faces.images[2].ravel().tolist() == list(map(int, row.split()))


def test_stand_in_is_shaped_like_jaffe_and_knows_that_it_is_drawn(stand_in, tmp_path):
    found = data.load_faces(stand_in)
    assert (found.name, found.crop, found.notes) == ("standin", data.JAFFE_BOX, [])
    for texts, counts in ((found.faces.emotions, data.JAFFE_EMOTIONS), (found.faces.subjects, data.JAFFE_PEOPLE)):
        assert dict(zip(*np.unique(texts, return_counts=True))) == counts
    modes = [Image.open(file).mode for file in stand_in.iterdir()]
    assert (modes.count("L"), modes.count("P")) == (190, 23)
    with pytest.raises(OSError, match="standin"):
        standin.draw_all(stand_in)
    # Without the tag they are JAFFE by their names; one missing is said loudly.
    for file in sorted(stand_in.iterdir())[1:]:
        Image.open(file).convert("L").save(tmp_path / file.name, tiffinfo={})
    found = data.load_faces(tmp_path)
    assert found.name == "JAFFE" and found.notes == ["THIS IS NOT THE WHOLE OF JAFFE: 29 faces of AN, it has 30",
                                                     "THIS IS NOT THE WHOLE OF JAFFE: 22 faces of KA, it has 23"]
    with zipfile.ZipFile(tmp_path / "jaffe.zip", "w") as packed:
        for file in tmp_path.glob("*.tiff"):
            packed.write(file, f"jaffe/{file.name}")
    assert "not the official jaffe.zip" in data.load_faces(tmp_path / "jaffe.zip").notes[-1]
    # People of the same names are not JAFFE.
    assert data.load_faces(draw_tiny(tmp_path / "jaffe")).name == "jaffe-faces"


def test_oddities_are_said(tmp_path):
    folder = draw_tiny(tmp_path / "own")
    (folder / "README.txt").write_text("no image")
    shutil.copy(folder / "AA.AN1.png", folder / "BB.HA2.png")
    Image.open(folder / "CC.AN1.png").resize((300, 200)).save(folder / "CC.AN1.png")
    for file in folder.glob("DD.SU*"):
        file.unlink()
    notes = data.load_faces(folder, crop="none").notes
    for said in ("1 files that are no images were skipped", "images of 2 sizes, 256 x 256 to 300 x 200",
                 "squeezed", "A LEAK if on two sides of a split: BB.HA2.png as AA.AN1.png",
                 "no face of this person with this emotion: DD SU"):
        assert any(said in note for note in notes), (said, notes)


# ---------------------------------------------------------------------------------- registration
def corner(found):
    """Where a movement takes a point 30 and 40 pixels off the middle."""
    x, y, angle, zoom = found
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    return np.exp(zoom) * turn @ [30, 40] + [x, y]


def test_a_moved_face_is_brought_back(stand_in):
    """By shift, angle and scale: within half a pixel of the 48, which is 1.7 of the picture's."""
    faces = data.load_faces(stand_in).faces
    small = data.patches(faces.pictures)
    movements, mean = data.register(small)
    assert (np.abs(movements) <= data.LIMITS).all() and movements.any(1).all()
    rng, off = np.random.default_rng(1), []
    for row in range(0, 213, 15):
        true = rng.uniform(-1, 1, 4) * [4, 4, 0.03, 0.05]
        picture = faces.pictures[row]
        middle = len(picture.grey) / 2
        turn = np.exp(-true[3]) * np.array([[np.cos(true[2]), np.sin(true[2])],
                                            [-np.sin(true[2]), np.cos(true[2])]])
        back = np.array([middle, middle]) - turn @ (middle + true[:2])
        image = Image.fromarray(picture.grey).transform(
            picture.grey.shape, Image.Transform.AFFINE, (*turn[0], back[0], *turn[1], back[1]),
            Image.Resampling.BICUBIC)
        patch, = data.patches([data.Picture(np.asarray(image), picture.side)])
        found = data.movement(data.blurred(patch), mean)
        # First back to where the face was, then as that one is registered.
        x, y, angle, zoom = movements[row]
        before = np.linalg.inv(np.exp(zoom) * np.array([[np.cos(angle), -np.sin(angle)],
                                                        [np.sin(angle), np.cos(angle)]]))
        off.append(np.linalg.norm(before @ (corner(found) - [x, y]) - corner(true)))
    assert np.mean(off) < 0.5 * 161 / 48 / 2 and max(off) < 0.5 * 161 / 48


def test_moved_by_nothing_is_the_box_and_by_pixels_is_shifted(stand_in):
    faces = data.load_faces(stand_in).faces
    for picture, image in list(zip(faces.pictures, faces.images))[:5]:
        assert np.abs(data.moved(picture, np.zeros(4)).astype(int) - image).mean() < 1.5
        shifted = data.moved(picture, np.array([161 / 48 * 3, 0, 0, 0]))  # three pixels to the left
        assert np.abs(shifted[:, :-3].astype(int) - image[:, 3:]).mean() < 1.5


def test_an_unbelievable_registration_keeps_the_box(stand_in):
    faces = data.load_faces(stand_in).faces
    small = data.patches(faces.pictures[:20])
    _, mean = data.register(small)
    for shift, believed in ((3, True), (9, False)):  # 6 and 18 pixels
        assert data.movement(data.blurred(np.roll(small[0], shift, axis=1)), mean).any() == believed


def test_no_test_face_has_a_part_in_the_mean(stand_in):
    """Other test faces, the same movements and mean of the training faces."""
    faces = data.load_faces(stand_in).faces.take(np.arange(0, 213, 4))
    plan = experiment.Experiment("", "", "", True, 0, 0, list(data.EMOTION_NAMES), "", [], {}, "holdout")
    train, test = experiment.make_split(faces, plan, 1)
    other = faces._replace(pictures=faces.pictures.copy())
    for row in test:
        other.pictures[row] = data.Picture(255 - faces.pictures[row].grey, faces.pictures[row].side)
    found, again = (data.register(data.patches(each.pictures[train])) for each in (faces, other))
    assert np.array_equal(found[0], again[0]) and np.array_equal(found[1], again[1])


@pytest.mark.skipif(not REAL_FACES.is_dir(), reason="the real photographs are not there")
def test_real_photographs():
    found = data.load_faces(REAL_FACES, data.JAFFE_BOX)
    assert len(found.faces.names) == 204 and found.notes == [] and found.name == REAL_FACES.name
    assert dict(zip(*np.unique(found.faces.emotions, return_counts=True))) == {"HA": 102, "NE": 102}
    movements, _ = data.register(data.patches(found.faces.pictures))
    assert 0.3 < movements[:, 0].std() < 4 and movements.any(1).mean() > 0.95
