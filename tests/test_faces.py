"""Faces: formats, framing, registration, layouts of the same faces. What layouts there are is in
test_reading.py, what is refused in test_bad_faces.py."""

import io
import shutil
import zipfile

import numpy as np
import pytest
from conftest import REAL_FACES, draw_tiny
from PIL import Image
from test_reading import KEYS, face, save, says, tree

from data import faces as data
from data import registration, standin
from data.reading.datasets import DATASETS
from data.reading.files import Entry

GREYS = (np.add.outer(np.arange(256), np.arange(256)) // 2).astype(np.uint8)
GREY = Image.fromarray(GREYS)
LONG = {"AN": "angry", "HA": "happy", "SU": "surprise"}


def loaded(image, form="PNG", crop=data.JAFFE_BOX, **options):
    """int (48, 48) of an image saved in a format."""
    stream = io.BytesIO()
    image.save(stream, form, **options)
    entry = Entry("a", "", "", "", (), stream.getvalue, "a")
    face, _ = data.framed(entry, data.decode(entry.read()).grey, crop)
    assert face.dtype == np.uint8
    return face.astype(int)


def scaled(image):
    return np.asarray(image.resize((48, 48), Image.Resampling.BILINEAR))


def test_crops_and_resize():
    face, wide = loaded(GREY, "TIFF"), GREY.resize((300, 200))  # by default the paper's box
    assert np.array_equal(face, scaled(GREY.crop((50, 65, 211, 226))))
    assert abs(face[23:25, 23:25].mean() - 137.25) < 0.6  # of (x + y) / 2 at (130, 145)
    assert np.array_equal(loaded(wide, crop="square"), loaded(wide, crop="50,0,200"))
    assert np.array_equal(loaded(GREY, crop="none"), loaded(GREY, crop="square"))
    assert np.abs(loaded(wide, crop="none") - scaled(GREY)).max() <= 3


def test_every_mode_and_format_gives_the_same_face():
    plain = loaded(GREY, "TIFF")
    palette = Image.fromarray((GREYS + 77).astype(np.uint8), "P")  # index k stands for grey k - 77
    palette.putpalette(bytes(np.repeat((np.arange(256) - 77) % 256, 3).astype(np.uint8)))
    sixteen = Image.fromarray(GREYS.astype(np.uint16) * 257)
    big_endian = Image.frombytes("I;16B", (256, 256), (GREYS.astype(">u2") * 257).tobytes())
    colour = GREY.convert("RGB")
    for image, form, off in ((palette, "TIFF", 0), (palette, "PNG", 0), (sixteen, "PNG", 1),
                             (big_endian, "TIFF", 1), (colour, "BMP", 0), (GREY, "PPM", 0),
                             (GREY, "JPEG", 3), (colour, "WEBP", 6)):
        assert np.abs(loaded(image, form) - plain).max() <= off, (form, image.mode)
    turned = Image.fromarray(np.rot90(GREYS).copy())  # to the left, and the tag that says so
    exif = turned.getexif()
    exif[274] = 6
    assert np.array_equal(loaded(turned, exif=exif), plain)


def pgm(greys):
    return b"P5 64 64 65535\n" + greys.astype(">u2").tobytes()


def test_formats_that_cameras_and_systems_give(tmp_path):
    tree(tmp_path, "{emotion}/{subject}_{take}.png")
    grey = Image.fromarray(face(8, "happy"))
    save(tmp_path / "happy/phone.jpg", grey.convert("RGB"), format="MPO", save_all=True,
         append_images=[grey.resize((20, 20)).convert("RGB")])
    save(tmp_path / "happy/windows.jfif", Image.fromarray(face(9, "happy")), format="JPEG")
    save(tmp_path / "happy/upper.JPEG", Image.fromarray(face(10, "happy")), format="JPEG")
    (tmp_path / "happy/deep.pgm").write_bytes(pgm(face(11, "happy").astype(int) * 257))
    images = dict(zip(*[column.tolist() for column in data.load_faces(tmp_path).faces[::3]]))
    assert len(images) == len(KEYS) + 4
    for name, subject in (("phone.jpg", 8), ("windows.jfif", 9), ("deep.pgm", 11)):
        plain = Image.fromarray(face(subject, "happy")).resize((48, 48), Image.Resampling.BILINEAR)
        assert np.abs(np.array(images[f"happy/{name}"]) - np.asarray(plain)).mean() < 6, name


@pytest.mark.parametrize("bits", [8, 10, 12, 14, 16])
def test_cameras_that_do_not_use_sixteen_bits(bits, tmp_path):
    white = 2**bits - 1
    for subject, emotion, take in KEYS:
        greys = face(subject, emotion, take)
        greys[0, 0] = 255  # some face of the set has a white pixel
        deep = np.round(greys * (white / 255)).astype(np.uint16)
        save(tmp_path / "deep" / emotion / f"{subject}_{take}.png", Image.fromarray(deep))
        save(tmp_path / "plain" / emotion / f"{subject}_{take}.png", greys)
    data_set, plain = (data.load_faces(tmp_path / name) for name in ("deep", "plain"))
    assert np.abs(data_set.faces.images.astype(int) - plain.faces.images).max() <= 1
    assert says(data_set, f"{white} is taken as white") == (bits < 16)


def test_transparent_images_are_laid_on_white(tmp_path):
    tree(tmp_path, "{emotion}/{subject}_{take}.png")
    grey, alpha = face(8, "sad"), np.full((64, 64), 255, np.uint8)
    alpha[:, :32] = 0
    modes = {"LA": np.dstack([grey, alpha]), "RGBA": np.dstack([grey, grey, grey, alpha])}
    for mode, pixels in modes.items():
        save(tmp_path / f"sad/{mode}.png", Image.fromarray(pixels, mode))
    save(tmp_path / "sad/opaque.png", Image.fromarray(face(9, "sad")).convert("RGBA"))
    palette = Image.fromarray(np.where(alpha, 1, 0).astype(np.uint8), "P")
    palette.putpalette([0, 0, 0, 90, 90, 90])
    save(tmp_path / "sad/palette.png", palette, transparency=0)
    data_set = data.load_faces(tmp_path)
    assert says(data_set, "3 images are transparent in places and were laid on white")
    for name, image in zip(data_set.faces.names, data_set.faces.images):
        if name in ("sad/LA.png", "sad/RGBA.png", "sad/palette.png"):
            assert (image[:, :22] == 255).all() and image[:, 26:].mean() < 160


def layouts(folder):
    """The same 36 drawn faces in every layout: [(what --data gets, options)]."""
    listed, split = ["File; Emotion;subject"], ["file,emotion,subject,split,x,y,side"]
    tabs = ["Image\tLabel\tPerson"]
    with zipfile.ZipFile(folder / "zipped.zip", "w") as packed:
        for file in sorted(draw_tiny(folder / "names").iterdir(), reverse=True):
            packed.write(file, f"../deep/{file.name}")
            person, take = file.name[:2], file.name[5]
            emotion, part = LONG[file.name[3:5]], "Test" if take == "3" else "Training"
            for place in (f"folders/{emotion}", f"parts/{part}/{emotion}",
                          f"nested/{emotion}/{person}", f"takes/{person}/{emotion}/take{take}"):
                (folder / place).mkdir(parents=True, exist_ok=True)
                shutil.copy(file, folder / place / file.name.replace(".", "_", 1))
            tabs.append(f"names\\{file.name}\t{emotion}\t{person}")
            listed.append(f"names/{file.name};{emotion};Ms {person}")
            split.append(f"names/{file.name},{emotion},{person},{part},50,65,161")
        packed.writestr("__MACOSX/._AA.AN1.png", b"resource fork")
    for name, lines in (("listed.csv", listed), ("split.csv", split), ("tabs.tsv", tabs)):
        (folder / name).write_text("\n".join(lines), "utf-8-sig", newline="\r\n")
    with zipfile.ZipFile(folder / "table.zip", "w") as packed:
        packed.write(folder / "listed.csv", "deep/listed.csv")
        for file in (folder / "names").iterdir():  # names that tell nothing by themselves
            packed.write(file, f"deep/names/{file.name}")
        packed.write(folder / "names" / "AA.AN1.png", "deep/names/cover.png")
    box = {"crop": data.JAFFE_BOX}
    by_name = {**box, "subject": r"^(x\d+)_|^(?:.*/)?(\w\w)_"}
    by_folder = {**box, "subject": r"(?:^|/)(\w\w)/"}
    return [("names", box), ("zipped.zip", box), ("folders", by_name), ("parts", by_name),
            ("nested", by_folder), ("takes", by_folder), ("tabs.tsv", box), ("table.zip", box),
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
        assert [LONG.get(e, e) for e in faces.emotions] == [LONG[e] for e in plain.emotions]
        split = path in ("parts", "split.csv")
        assert [(found.splits == part).sum() for part in ("train", "test", "")] == (
            [24, 12, 0] if split else [0, 0, 36])
        assert split == ("on both sides of the data's own split: AA, BB, CC ... (4 in all)"
                         in found.notes)
        assert found.crop == options.get("crop", "manifest")
    assert set(tmp_path.rglob("*")) == before  # nothing was unpacked


def write_fer2013(path, emotions=7):
    """FER2013's CSV with noise in it: 28 rows to train, 7 to validate, 14 to test."""
    rng, rows = np.random.default_rng(3), ["emotion,pixels,Usage"]
    for usage, count in (("Training", 28), ("PublicTest", 7), ("PrivateTest", 14)):
        for row in range(count):
            pixels = rng.integers(0, 256, 48 * 48, dtype=np.uint8)
            rows.append(f"{row % emotions},{' '.join(map(str, pixels))},{usage}")
    path.write_text("\n".join(rows))
    return path


def test_fer2013(tmp_path):
    found = data.load_faces(write_fer2013(tmp_path / "fer2013.csv"))
    assert found.crop == "square" and found.notes[0].startswith(
        "emotions are FER2013's numbers: 0 angry, 1 disgust") and "not known" in found.notes[1]
    assert found.splits.tolist() == ["train"] * 35 + ["test"] * 14
    assert found.faces.emotions[:7].tolist() == list(DATASETS["FER2013"].labels.values())[:7]
    row = (tmp_path / "fer2013.csv").read_text().splitlines()[3].split(",")[1]
    assert found.faces.images[2].ravel().tolist() == list(map(int, row.split()))


def test_stand_in_is_shaped_like_jaffe_and_knows_that_it_is_drawn(stand_in, tmp_path):
    faces, _, splits, *others = data.load_faces(stand_in)
    assert others == ["standin", True, data.JAFFE_BOX, []] and set(splits.tolist()) == {""}
    for texts, counts in ((faces.emotions, data.JAFFE_EMOTIONS),
                          (faces.subjects, data.JAFFE_SUBJECTS)):
        assert dict(zip(*np.unique(texts, return_counts=True))) == counts
    modes = [Image.open(file).mode for file in stand_in.iterdir()]
    assert (modes.count("L"), modes.count("P")) == (190, 23)
    with pytest.raises(OSError, match="standin"):
        standin.draw_all(stand_in)
    # Without the tag they are JAFFE by their names; one missing is said loudly.
    with zipfile.ZipFile(tmp_path / "jaffe.zip", "w") as packed:
        for file in sorted(stand_in.iterdir())[1:]:
            Image.open(file).convert("L").save(tmp_path / file.name, tiffinfo={})
            packed.write(tmp_path / file.name, f"jaffe/{file.name}")
    missing = ["THIS IS NOT THE WHOLE OF JAFFE: 29 faces of AN, it has 30",
               "THIS IS NOT THE WHOLE OF JAFFE: 22 faces of KA, it has 23"]
    for path, notes in ((tmp_path, ["1 files that are no images: .zip 1", *missing]),
                        (tmp_path / "jaffe.zip", [*missing, "jaffe.zip is not the official "
                                                  f"jaffe.zip, of MD5 {data.JAFFE_MD5}"])):
        found = data.load_faces(path)
        assert (found.name, found.notes) == ("JAFFE", notes)
    # People of the same names are not JAFFE.
    assert data.load_faces(draw_tiny(tmp_path / "jaffe")).name == "jaffe-faces"


def test_two_that_draw_at_once(tmp_path, monkeypatch):
    """The first to be done keeps its faces, the other takes them; nothing else is left."""
    def draw(*_):
        (tmp_path / "standin").mkdir(exist_ok=True)
        (tmp_path / "standin" / "first.tiff").touch()
        return np.zeros((9, 9), np.uint8)

    monkeypatch.setattr(standin, "draw_face", draw)
    assert standin.draw_all(tmp_path / "standin") == 213
    assert [file.name for file in tmp_path.rglob("*")] == ["standin", "first.tiff"]


def test_oddities_are_said(tmp_path):
    folder = draw_tiny(tmp_path / "own")
    (folder / "README.txt").write_text("no image")
    shutil.copy(folder / "AA.AN1.png", folder / "BB.HA2.png")
    Image.open(folder / "CC.AN1.png").resize((300, 200)).save(folder / "CC.AN1.png")
    for file in folder.glob("DD.SU*"):
        file.unlink()
    notes = data.load_faces(folder, crop="none").notes
    for said in ("1 files that are no images: .txt 1",
                 "images of 2 sizes, 256 x 256 to 300 x 200", "squeezed",
                 "correct or remove one of BB.HA2.png (HA) and AA.AN1.png (AN)",
                 "no face of this person with this emotion: DD SU"):
        assert any(said in note for note in notes), (said, notes)


# ---------------------------------------------------------------------------------- registration
def turning(angle, zoom):
    """The matrix that turns and enlarges points (x, y)."""
    cos, sin = np.cos(angle), np.sin(angle)
    return np.exp(zoom) * np.array([[cos, -sin], [sin, cos]])


@pytest.fixture(scope="module")
def wide_crops(stand_in):
    return data.load_faces(stand_in).wide_crops


def test_a_warped_face_is_brought_back(wide_crops):
    """By shift, angle and scale: within half a pixel of the 48, which is 1.7 of the picture's."""
    mean, rows = registration.mean_face(wide_crops[::3]), range(0, 213, 15)
    transforms = registration.register(wide_crops[rows], mean)
    assert (np.abs(transforms) <= registration.LIMITS).all() and transforms.any(1).all()
    rng, off, corner = np.random.default_rng(1), [], [30, 40]  # a point, pixels off the middle
    for row, transform in zip(rows, transforms):
        *shift, angle, zoom = rng.uniform(-1, 1, 4) * [4, 4, 0.03, 0.05]
        grey, side = wide_crops[row]
        turn, middle = np.linalg.inv(turning(angle, zoom)), np.full(2, len(grey) / 2)
        rest = middle - turn @ (middle + shift)
        image = Image.fromarray(grey).transform(
            grey.shape, Image.Transform.AFFINE, [*turn[0], rest[0], *turn[1], rest[1]],
            Image.Resampling.BICUBIC)
        patch, = registration.patches([data.WideCrop(np.asarray(image), side)])
        *found, found_angle, found_zoom = registration.estimate_transform(
            registration.blurred(patch), mean)
        # First back to where the face was, then as that one is registered.
        *own, own_angle, own_zoom = transform
        place = turning(found_angle, found_zoom) @ corner + found
        place = np.linalg.inv(turning(own_angle, own_zoom)) @ (place - own)
        off.append(np.linalg.norm(place - turning(angle, zoom) @ corner - shift))
    assert np.mean(off) < 0.5 * 161 / 48 / 2 and max(off) < 0.5 * 161 / 48


def test_warped_by_nothing_is_the_box_and_by_pixels_is_shifted(drawn, wide_crops):
    for wide_crop, image in zip(wide_crops[:5], drawn.images.astype(int)):
        assert np.abs(registration.warp(wide_crop, np.zeros(4)) - image).mean() < 1.5
        shifted = registration.warp(wide_crop, np.array([161 / 48 * 3, 0, 0, 0]))  # 3 to the left
        assert np.abs(shifted[:, :-3] - image[:, 3:]).mean() < 1.5


def test_a_transform_beyond_the_limits_is_rejected(wide_crops):
    mean, (patch,) = registration.mean_face(wide_crops[:20]), registration.patches(wide_crops[:1])
    for shift, accepted in ((3, True), (9, False)):  # 6 and 18 pixels
        shifted = registration.blurred(np.roll(patch, shift, axis=1))
        assert registration.estimate_transform(shifted, mean).any() == accepted


@pytest.mark.skipif(not REAL_FACES.is_dir(), reason="the real photographs are not there")
def test_real_photographs():
    faces, wide_crops, _, *others = data.load_faces(REAL_FACES, data.JAFFE_BOX)
    assert len(faces.names) == 204 and others == [
        REAL_FACES.name, False, data.JAFFE_BOX, []]
    assert dict(zip(*np.unique(faces.emotions, return_counts=True))) == {"HA": 102, "NE": 102}
    transforms = registration.register(wide_crops[::4], registration.mean_face(wide_crops[::4]))
    assert 0.3 < transforms[:, 0].std() < 4 and transforms.any(1).mean() > 0.95
