"""Reading faces: formats, sources and what is said of them. Inputs that are refused are in test_bad_input.py."""

import zipfile

import numpy as np
import pytest
from conftest import REAL_FACES, draw_tiny
from PIL import Image

import utils


@pytest.fixture
def face(tmp_path):
    """An uint8 (256, 256) gradient, and a function that saves it as one mode and format and reads it back."""
    grey = (np.add.outer(np.arange(256), np.arange(256)) // 2).astype(np.uint8)

    def back(image, name="AA.AN1.tiff"):
        image.save(tmp_path / name)
        return utils.read_face(name, (tmp_path / name).read_bytes, utils.CROP)[0]

    return grey, back


def test_crop_box_and_resize_are_the_papers(face):
    grey, back = face
    expected = Image.fromarray(grey).crop((50, 65, 211, 226)).resize((48, 48), Image.Resampling.BILINEAR)
    image = back(Image.fromarray(grey))
    assert image.dtype == np.float32 and np.array_equal(image, np.asarray(expected, np.float32) / 255)
    # On the gradient (x + y) / 2 the middle of the box, pixel (130, 145), is at (137.5 +- rounding) / 255.
    assert image[23:25, 23:25].mean() == pytest.approx(137.25 / 255, abs=0.002)


def test_every_mode_gives_the_same_face(face):
    grey, back = face
    plain = back(Image.fromarray(grey))
    palette = Image.fromarray((grey + 77).astype(np.uint8), "P")  # index k stands for grey k - 77
    palette.putpalette(bytes(np.repeat((np.arange(256) - 77) % 256, 3).astype(np.uint8)))
    assert np.array_equal(back(palette), plain)
    assert np.array_equal(back(Image.fromarray(grey).convert("RGB"), "AA.AN1.png"), plain)
    sixteen = Image.fromarray(grey.astype(np.uint16) * 257)
    assert sixteen.mode == "I;16"
    assert np.allclose(back(sixteen), plain, atol=1.1 / 255)  # 8-bit images are rounded on the way
    assert np.allclose(back(sixteen, "AA.AN1.png"), plain, atol=1.1 / 255)
    assert np.allclose(back(Image.fromarray(grey), "AA.AN1.jpg"), plain, atol=3 / 255)


def test_folder_zip_and_manifest_hold_the_same_faces(tmp_path):
    folder = draw_tiny(tmp_path / "own faces")
    (folder / ".DS_Store").write_bytes(b"\0")
    (folder / "README.txt").write_text("no image")
    from_folder = utils.load_faces(folder)
    faces = from_folder.faces
    assert list(faces.names) == sorted(faces.names) and faces.images.shape == (36, 48, 48, 1)
    assert (faces.subjects[0], faces.emotions[0], faces.names[0]) == ("AA", "AN", "AA.AN1.png")
    assert from_folder.name == "own-faces" and from_folder.notes == ["2 files that are no images were skipped"]
    with zipfile.ZipFile(tmp_path / "own.zip", "w") as archive:
        for file in folder.iterdir():
            archive.write(file, f"deep/inside/{file.name}")
        archive.writestr("__MACOSX/._AA.AN1.png", b"resource fork")
    lines = [f"own faces/{name},{subject},{emotion.lower()}" for _, name, subject, emotion in zip(*faces)]
    (tmp_path / "own.csv").write_text("file,subject,emotion\n" + "\n".join(reversed(lines)))
    before = set(tmp_path.rglob("*"))
    for path in ("own.zip", "own.csv"):
        other = utils.load_faces(tmp_path / path).faces
        assert np.array_equal(other.images, faces.images) and np.array_equal(other.subjects, faces.subjects)
        assert np.array_equal(other.emotions, faces.emotions)
    assert set(tmp_path.rglob("*")) == before  # nothing was unpacked


def test_stand_in_is_shaped_like_jaffe_and_knows_it_is_drawn(stand_in):
    data_set = utils.load_faces(stand_in)
    faces = data_set.faces
    assert data_set.stand_in and data_set.name == "standin" and data_set.notes == []
    counts = {**dict(zip(*np.unique(faces.emotions, return_counts=True))), **dict(zip(*np.unique(faces.subjects, return_counts=True)))}
    assert counts == utils.JAFFE_FACES
    modes = [Image.open(file).mode for file in stand_in.iterdir()]
    assert (modes.count("L"), modes.count("P")) == (190, 23)


def test_partial_jaffe_is_loud(tmp_path, stand_in):
    for file in sorted(stand_in.iterdir())[1:]:  # without the first, KA AN, and without the tag that says it is drawn
        Image.open(file).convert("L").save(tmp_path / file.name, tiffinfo={})
    data_set = utils.load_faces(tmp_path)
    assert data_set.name == "jaffe" and not data_set.stand_in
    assert data_set.notes == ["THIS IS NOT THE WHOLE OF JAFFE: 29 faces of AN, JAFFE has 30",
                              "THIS IS NOT THE WHOLE OF JAFFE: 22 faces of KA, JAFFE has 23"]


def test_zip_of_jaffe_is_compared_with_the_official_md5(tmp_path, stand_in, capsys):
    with zipfile.ZipFile(tmp_path / "jaffe.zip", "w") as archive:
        for file in stand_in.iterdir():
            archive.write(file, f"jaffe/{file.name}")
    assert len(utils.load_faces(tmp_path / "jaffe.zip").faces.names) == 213
    assert "the official jaffe.zip has fe13f3302eb9968ef04367456f665436" in capsys.readouterr().err


def test_crop_none_takes_the_whole_image(tmp_path):
    folder = draw_tiny(tmp_path / "faces")
    for file in folder.iterdir():
        Image.open(file).crop(utils.CROP[:2] + (211, 226)).save(file)
    with pytest.raises(utils.Problem, match="161 x 161 pixels, too small for the crop box 50,65,161.*--crop none"):
        utils.load_faces(folder)
    assert utils.load_faces(folder, None).faces.images.shape == (36, 48, 48, 1)


@pytest.mark.skipif(not REAL_FACES.is_dir(), reason="the real photographs are not there")
def test_real_photographs():
    data_set = utils.load_faces(REAL_FACES)
    assert len(data_set.faces.names) == 204 and data_set.notes == [] and not data_set.stand_in
    assert dict(zip(*np.unique(data_set.faces.emotions, return_counts=True))) == {"HA": 102, "NE": 102}
    assert 0.2 < data_set.faces.images.mean() < 0.8
