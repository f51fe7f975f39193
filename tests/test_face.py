"""The alignment formula on made-up landmarks, exact sampling, and real faces found in the example photographs."""

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from hfgi_app import face, images
from hfgi_app.errors import NoFaceError, PhotoError

ASSETS = Path(__file__).parent.parent / "assets"
NAMES = ["woman", "man", "glasses"]


def landmarks(left_eye=(80, 100), right_eye=(120, 100), mouth=((85, 150), (115, 150))):
    points = np.zeros((468, 2))
    points[[33, 160, 158, 133, 153, 144]] = left_eye
    points[[362, 385, 387, 263, 373, 380]] = right_eye
    points[[61, 291]] = mouth
    return points


def square(left, top, side):
    return np.array([[left, top], [left, top + side], [left + side, top + side], [left + side, top]], dtype=float)


def example(name):
    return images.read(ASSETS / f"{name}.jpg")


# --- the formula -----------------------------------------------------------------------------------------------------


def test_square_of_an_upright_face():
    # Half a side is the larger of twice the eye distance, 80, and 1.8 times eye to mouth, 90; its middle is a tenth
    # of the way from the eyes (100, 100) to the mouth; half a pixel from pixel middles to corners.
    assert np.allclose(face.quad(landmarks()), square(10.5, 15.5, 180))


def test_square_of_a_wide_face_follows_the_eyes():
    assert np.allclose(face.quad(landmarks((50, 100), (150, 100))), square(-99.5, -94.5, 400))


@pytest.mark.parametrize("angle", [0.3, -1.2, 3.0])
def test_square_turns_moves_and_grows_with_the_face(angle):
    turn = 1.7 * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    points = landmarks()
    moved = points @ turn.T + [300, 40]
    assert np.allclose(face.quad(moved) - 0.5, (face.quad(points) - 0.5) @ turn.T + [300, 40])


def test_square_is_square_for_a_skewed_face():
    quad = face.quad(landmarks((80, 90), (125, 104), ((82, 150), (118, 141))))
    sides = np.roll(quad, -1, axis=0) - quad
    assert np.allclose(np.linalg.norm(sides, axis=1), np.linalg.norm(sides[0]))
    assert np.allclose((sides * np.roll(sides, -1, axis=0)).sum(axis=1), 0)


# --- choosing --------------------------------------------------------------------------------------------------------


def test_largest_face_is_chosen_unless_a_number_is_given():
    faces = [np.array([[0, 0], [w, w]], dtype=float) for w in (10, 30, 20)]
    assert face.choose(faces) is faces[1]
    assert face.choose(faces, 2) is faces[2]


@pytest.mark.parametrize("index", [3, -1])
def test_face_that_is_not_there(index):
    with pytest.raises(NoFaceError, match=r"there are 3 faces, numbered 0 to 2 from left to right\.$"):
        face.choose([np.zeros((2, 2))] * 3, index)


def test_no_face_says_what_to_try():
    with pytest.raises(NoFaceError, match=r"No face was found; try a photo where the face is larger"):
        face.choose([])


# --- sampling --------------------------------------------------------------------------------------------------------


def noise(height, width, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def test_square_on_whole_pixels_is_a_plain_cut():
    photo = noise(80, 100)
    assert np.array_equal(face.sample(photo, square(30, 20, 32), 32), photo[20:52, 30:62])


def test_corner_order():
    photo = noise(64, 64)
    turned = np.roll(square(16, 16, 32), 1, axis=0)  # starts at the photo's top right: a quarter turn
    assert np.array_equal(face.sample(photo, turned, 32), np.rot90(photo[16:48, 16:48]))


@pytest.mark.parametrize(("side", "size"), [(40, 64), (100, 64), (201.5, 64), (700, 64), (700, 333)])
def test_every_size_samples_the_right_places(side, size):
    photo = np.empty((800, 1000, 3), np.uint8)
    photo[..., 0], photo[..., 1], photo[..., 2] = np.arange(1000) / 4, np.arange(800)[:, None] / 4, 9
    left, top = 101.25, 53.5
    crop = face.sample(photo, square(left, top, side), size).astype(float)
    place = (np.arange(size) + 0.5) * side / size - 0.5
    assert np.abs(crop[..., 0] - (left + place) / 4).max() < 1.2
    assert np.abs(crop[..., 1] - (top + place)[:, None] / 4).max() < 1.2


def test_fine_stripes_do_not_alias():
    photo = np.zeros((900, 900, 3), np.uint8)
    photo[:, ::2] = 255
    for side in (130.0, 300.0, 850.0):
        assert np.abs(face.sample(photo, square(20, 20, side), 64)[4:-4, 4:-4].astype(int) - 127.5).max() < 13


def test_surroundings_are_invented_and_the_photo_stays():
    photo = noise(64, 64) // 4 + 90
    crop = face.sample(photo, square(-32, -32, 96), 96)
    assert np.array_equal(crop[32:, 32:], photo)
    assert np.abs(crop[31, 40:].astype(int) - photo[0, 8:]).mean() < 12  # mirrored: no step at the rim
    assert crop[:4, :4].std() < photo.std() / 3  # and calm far from it


def test_square_far_larger_than_the_photo():
    assert face.sample(noise(20, 30), square(-500, -400, 1000), 64).shape == (64, 64, 3)


# --- an aligned photo ------------------------------------------------------------------------------------------------


def test_aligned_photo_of_the_right_size_is_exact():
    photo = noise(64, 64)
    whole = face.whole(photo, 64)
    assert np.array_equal(images.to_photo(whole.crop), photo)
    assert np.array_equal(whole.quad, square(0, 0, 64))


def test_aligned_photo_of_another_size_is_antialiased():
    photo = np.zeros((256, 256, 3), np.uint8)
    photo[:, ::2] = 255
    assert face.whole(photo, 64).crop.abs().max() < 0.1


def test_aligned_photo_must_be_square():
    with pytest.raises(PhotoError, match=r"square, this one has 30 x 20 pixels"):
        face.whole(noise(20, 30), 16)


# --- real faces ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_example_aligns_to_itself(name):
    """An aligned crop, detected again, must be found to be aligned already."""
    photo = example(name)
    faces = face.detect(photo)
    assert len(faces) == 1
    aligned = face.align(photo, faces[0], 256)
    assert aligned.photo is photo
    assert aligned.crop.shape == (1, 3, 256, 256)
    again = face.detect(images.to_photo(aligned.crop))
    assert len(again) == 1
    assert np.abs(face.quad(again[0]) - square(0, 0, 256)).max() < 10


def test_faces_come_left_to_right():
    small, large = Image.fromarray(example("woman")), Image.fromarray(example("man"))
    photo = Image.new("RGB", (1000, 600), "gray")
    photo.paste(large, (0, 0))
    photo.paste(small, (600, 100))
    faces = face.detect(np.asarray(photo))
    assert len(faces) == 2
    assert faces[0][:, 0].mean() < 480 < 600 < faces[1][:, 0].mean()
    assert face.choose(faces) is faces[0]


def test_small_face_in_a_large_photo():
    photo = Image.new("RGB", (2400, 1800), "darkseagreen")
    photo.paste(Image.fromarray(example("glasses")), (1900, 1300))
    faces = face.detect(np.asarray(photo))
    assert len(faces) == 1
    alone = face.quad(face.detect(example("glasses"))[0]) + np.array([1900, 1300])
    assert np.abs(face.quad(faces[0]) - alone).max() < 8


def test_tilted_face():
    photo = np.asarray(Image.fromarray(example("man")).rotate(25, Image.Resampling.BICUBIC, fillcolor="gray"))
    (found,) = face.detect(photo)
    across = face.quad(found)[3] - face.quad(found)[0]
    assert np.degrees(np.arctan2(-across[1], across[0])) == pytest.approx(25, abs=5)


@pytest.mark.parametrize("photo", [np.full((300, 400, 3), 128, np.uint8), noise(300, 400), noise(16, 2000)])
def test_no_face_is_an_empty_list(photo):
    assert face.detect(photo) == []


def test_threads_share_the_finders():
    photos = [example(name) for name in NAMES]
    alone = [face.detect(photo)[0] for photo in photos]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(lambda photo: face.detect(photo)[0], photos * 3))
    for one, other in zip(together, alone * 3, strict=True):
        assert np.abs(one - other).max() < 1


def test_detecting_is_silent():
    code = "import sys; from hfgi_app import face, images; print(len(face.detect(images.read(sys.argv[1]))))"
    run = subprocess.run([sys.executable, "-c", code, ASSETS / "man.jpg"], capture_output=True, text=True, check=True)
    assert (run.stdout, run.stderr) == ("1\n", "")
