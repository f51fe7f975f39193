"""Edit and photo joined: zero is the photo itself, nothing jumps, no ghost and no seam."""

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from hfgi_app import face, images
from hfgi_app.composite import FEATHER, Canvas, Scene

ASSETS = Path(__file__).parent.parent / "assets"


def noise(height, width, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def smooth(size, seed=0, reach=0.5):
    """1 x 3 x size x size, soft blobs in [-reach, reach]: what a coarse image looks like."""
    small = np.random.default_rng(seed).integers(0, 256, (6, 6, 3), dtype=np.uint8)
    blobs = np.asarray(Image.fromarray(small).resize((size, size), Image.Resampling.BICUBIC))
    return images.to_tensor(blobs) * reach


def quad(middle=(150.0, 110.0), side=120.0, angle=0.0):
    x = side / 2 * np.array([np.cos(angle), np.sin(angle)])
    y = np.array([-x[1], x[0]])
    return np.stack([middle - x - y, middle - x + y, middle + x + y, middle + x - y])


QUADS = {
    "upright": quad(),
    "turned": quad(angle=0.4),
    "upside down": quad(angle=3.0),
    "on the rim": quad((20.3, 30.7), angle=-0.2),
    "at the far corner": quad((299, 219)),
    "larger than the photo": quad(side=500, angle=0.1),
    "small": quad(side=31.5),
}


EXAMPLES = {"man": quad((248, 255.5), 277.5), "woman": quad((98.5, 141.5), 207, 0.037)}


def example(name, size):
    """A real photo, its face's square, and a coarse picture of the face as soft as a network's."""
    photo = images.read(ASSETS / f"{name}.jpg")
    soft = images.scale(face.sample(photo, EXAMPLES[name], 24), size)
    return photo, EXAMPLES[name], images.to_tensor(soft)


def checks(size):
    """A change of shape everywhere."""
    tiles = (torch.arange(size)[:, None] * 16 // size + torch.arange(size) * 16 // size) % 2
    return tiles.float().mul(2).sub(1).expand(1, 3, size, size)


def difference(one, other):
    return np.abs(one.astype(int) - other.astype(int))


# --- zero ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("corners", QUADS.values(), ids=QUADS.keys())
@pytest.mark.parametrize("size", [16, 64, 256])
def test_no_edit_is_the_photo_byte_for_byte(corners, size):
    photo, raw, coarse = noise(220, 300), torch.randn(1, 3, size, size), smooth(size)
    out = Canvas.of_photo(photo, corners, raw, coarse).blend(raw.clone(), coarse.clone())
    assert out is not photo
    assert np.array_equal(out, photo)


@pytest.mark.parametrize("side", [64, 100, 256])
def test_no_edit_is_the_face_byte_for_byte(side):
    photo, raw, coarse = noise(side, side), torch.randn(1, 3, 64, 64), smooth(64)
    assert np.array_equal(Canvas.of_face(photo, raw, coarse).blend(raw, coarse), photo)


@pytest.mark.parametrize("size", [64, 128])
@pytest.mark.parametrize("name", ["man", "woman"])
def test_first_step_of_a_slider_changes_next_to_nothing(name, size):
    """A hundredth of a strong edit: at most 4 of 255 levels, though the photo's detail is as strong as it comes."""
    photo, corners, coarse = example(name, size)
    canvas = Canvas.of_photo(photo, corners, coarse, coarse)
    for seed in range(4):
        step = 0.01 * smooth(size, seed, reach=1)
        assert difference(canvas.blend(coarse + step, coarse + step), photo).max() <= 4


def test_growing_movement_never_jumps():
    """From standing still to a shift of a twentieth of the face, in fine steps."""
    photo, corners, wide = example("man", 160)
    start = images.to_tensor(images.to_photo(wide)[16:144, 16:144])
    canvas = Canvas.of_photo(photo, corners, start, start)
    frames = []
    for shift in np.linspace(0, 6, 49):
        window = (16 - shift, 16, 144 - shift, 144)
        moved = Image.fromarray(images.to_photo(wide)).resize((128, 128), Image.Resampling.BICUBIC, box=window)
        frames.append(canvas.blend(*[images.to_tensor(np.asarray(moved))] * 2))
    steps = [difference(one, other).mean() for one, other in pairwise(frames)]
    assert max(steps) < 4 * np.mean(steps)
    assert difference(frames[0], frames[-1]).mean() > 4


# --- what shows where ------------------------------------------------------------------------------------------------


def test_changed_shape_shows_the_render_alone():
    """No ghost of the photo's detail."""
    photo, raw, coarse = noise(64, 64), smooth(64, 1), smooth(64, 2)
    edited = smooth(64, 3)
    out = Canvas.of_face(photo, raw, coarse).blend(edited, 0.8 * checks(64))
    assert difference(out, images.to_photo(edited)).max() <= 1


def test_changed_tone_keeps_the_detail():
    grain = noise(64, 64) // 8
    raw = smooth(64, 1)
    photo = images.to_photo(raw) // 2 + 50 + grain
    out = Canvas.of_face(photo, raw, raw).blend(raw + 0.1, raw + 0.1)
    assert np.abs(out - photo.astype(float) - 0.1 * 127.5).mean() < 3


def test_far_from_the_edit_the_photo_stays():
    photo, raw, coarse = noise(128, 128), smooth(64, 1), smooth(64, 2)
    edit = torch.zeros(1, 3, 64, 64)
    edit[..., :20, :20] = checks(20)
    out = Canvas.of_face(photo, raw, coarse).blend(raw + edit, coarse + edit)
    assert difference(out, photo)[80:, 80:].max() <= 1
    assert difference(out, photo)[:30, :30].mean() > 20


MOVE = 5


def moved_face(move):
    """A photo with grain, the grain, the face without grain moved sideways; smooth renders before and after."""
    size = 128
    base = images.to_photo(smooth(2 * size, 1, reach=1))
    grain = noise(size, size)[..., :1].repeat(3, axis=2) // 4
    start = slice(size // 2, size // 2 + size)
    before, after = base[start, start], base[start, size // 2 - move : size // 2 - move + size]
    photo = (before * 0.7 + grain).astype(np.uint8)
    old, new = images.to_tensor(before) * 0.7 - 0.3, images.to_tensor(after) * 0.7 - 0.3
    return photo, grain, after, old, new


def test_detail_travels_with_the_face():
    """A face that moves takes the photo's own grain along and leaves none behind."""
    photo, grain, _, old, new = moved_face(MOVE)
    out = Canvas.of_face(photo, old, old).blend(new, new).astype(float) - images.to_levels(new)

    def likeness(shift):
        moved = np.roll(grain, shift, axis=1)[20:-20, 20:-20]
        return np.corrcoef(out[20:-20, 20:-20].ravel(), moved.ravel())[0, 1]

    assert likeness(MOVE) > 0.6
    assert likeness(0) < 0.2


def test_keep_zero_is_the_render_and_keep_is_linear():
    photo, raw = noise(64, 64), smooth(64, 1)
    canvas = Canvas.of_face(photo, raw, raw)
    render = images.to_photo(raw)
    assert difference(canvas.blend(raw, raw, 0.0), render).max() <= 1
    half = (photo.astype(float) + render) / 2
    assert np.abs(canvas.blend(raw, raw, 0.5) - half).max() <= 1


def test_render_is_clamped_before_it_is_joined():
    photo, raw = noise(64, 64), smooth(64, 1)
    canvas = Canvas.of_face(photo, raw, raw)
    assert np.array_equal(canvas.blend(raw + 9, checks(64)), canvas.blend(torch.ones_like(raw), checks(64)))


# --- where it shows --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("corners", QUADS.values(), ids=QUADS.keys())
def test_outside_the_square_nothing_changes(corners):
    photo, raw = noise(220, 300), smooth(64, 1)
    out = Canvas.of_photo(photo, corners, raw, raw).blend(-raw, checks(64))
    ys, xs = np.mgrid[:220, :300] + 0.5
    across, down = corners[3] - corners[0], corners[1] - corners[0]
    offset = np.stack([xs, ys], axis=-1) - corners[0]
    u, v = offset @ across / (across @ across), offset @ down / (down @ down)
    outside = (np.minimum(u, v) < 0) | (np.maximum(u, v) > 1)
    assert difference(out, photo)[outside].max(initial=0) <= 1
    assert difference(out, photo)[~outside].mean() > 10


def half(left, size=64):
    """A mask: the person is in the left or in the right part of the square."""
    mask = np.zeros((size, size), np.float32)
    mask[:, :left] = 1
    return mask


def test_where_the_person_is_not_the_photo_stays():
    """An edit that lightens the whole square: nothing of it beside the person, all of it on them."""
    photo, corners, coarse = noise(220, 300), quad(), smooth(64)
    scene = Scene.of(face.sample(photo, corners, 64), half(32), half(32))
    canvas, plain = (Canvas.of_photo(photo, corners, coarse, coarse, known) for known in (scene, None))
    lighter = coarse + 0.1
    part, whole = (one.blend(lighter, lighter, 1.0, half(32)).astype(int) for one in (canvas, plain))
    left, right = slice(100, 140), slice(165, 205)  # of the square's 90..210, its middle at 150
    assert np.array_equal(part[60:160, 165:], photo[60:160, 165:])
    assert np.array_equal(part[60:160, left], whole[60:160, left])
    assert not np.array_equal(whole[60:160, right], photo[60:160, right])
    steps = np.abs(np.diff((part - photo)[60:160, 130:170].mean(axis=0), axis=0)).max()
    assert steps <= 5  # 13 levels, softly


def test_what_a_moved_head_uncovers_shows_the_background():
    """Half of the square is a person before a grey wall; they step back by a quarter of it."""
    photo = np.full((220, 300, 3), 120, np.uint8)
    photo[:, :150] = noise(220, 150)
    corners, coarse = quad(), smooth(64)
    scene = Scene.of(face.sample(photo, corners, 64), half(32), half(32))
    canvas = Canvas.of_photo(photo, corners, coarse, coarse, scene)
    still = canvas.blend(coarse, coarse, 1.0, half(32))
    moved = canvas.blend(coarse, coarse, 1.0, half(16)).astype(int)
    assert np.array_equal(still, photo)
    assert np.abs(moved[75:120, 135:143] - 120).max() <= 3
    assert np.array_equal(moved[75:120, 95:105], photo[75:120, 95:105])
    assert np.array_equal(moved[150:, :], photo[150:, :])  # what comes to light down there is not known
    tinted = coarse + torch.tensor([-0.3, 0.0, 0.3]).reshape(1, 3, 1, 1)
    fringe = canvas.blend(tinted, coarse, 1.0, half(16)).astype(int)
    assert (
        np.abs(fringe[95:105, 126:143] - 120).max(axis=2).mean(axis=0).max() <= 6
    )  # to a twentieth of a side from them


@pytest.mark.parametrize("angle", [0.0, 0.3])
def test_rim_has_no_seam(angle):
    """On a plain photo, a plain bright render fades in without a step anywhere."""
    photo, dark = np.full((300, 400, 3), 100, np.uint8), torch.full((1, 3, 64, 64), 100 / 127.5 - 1)
    corners = quad((200, 150), 200, angle)
    change = Canvas.of_photo(photo, corners, dark, dark).blend(dark + 0.8, dark + 0.8) - photo.astype(int)
    assert change.max() in (102, 103)
    steepest = 1.5 * 102 / (FEATHER * 200)  # of a smooth step
    assert max(np.abs(np.diff(change, axis=axis)).max() for axis in (0, 1)) < 1.5 * steepest


@pytest.mark.parametrize(("side", "size"), [(120, 64), (120, 120), (240, 64)])
def test_render_lands_where_the_square_is(side, size):
    """A bright patch in the render's lower left shows in the square's lower left, whatever its turn."""
    photo, dark = np.full((300, 400, 3), 50, np.uint8), torch.full((1, 3, size, size), 50 / 127.5 - 1)
    bright = dark.clone()
    bright[..., int(0.6 * size) : int(0.7 * size), int(0.2 * size) : int(0.3 * size)] = 1
    for angle in (0.0, 0.5, -2.0):
        corners = quad((200, 150), side, angle)
        out = Canvas.of_photo(photo, corners, dark, dark).blend(bright, bright)
        weight = out[..., 0].astype(float) - 50
        ys, xs = np.mgrid[:300, :400] + 0.5
        found = np.array([(xs * weight).sum(), (ys * weight).sum()]) / weight.sum()
        share = (np.array([int(0.2 * size) + int(0.3 * size), int(0.6 * size) + int(0.7 * size)])) / 2 / size
        expected = corners[0] + share[0] * (corners[3] - corners[0]) + share[1] * (corners[1] - corners[0])
        assert np.abs(found - expected).max() < 0.5


def test_render_larger_than_the_square_does_not_alias():
    photo, size = np.full((200, 200, 3), 128, np.uint8), 512
    stripes = torch.ones(1, 3, size, size)
    stripes[..., ::2] = -1
    out = Canvas.of_photo(photo, quad((100, 100), 90), stripes * 0, stripes * 0).blend(stripes, stripes * 0)
    assert difference(out, photo).max() <= 12


def test_preview_and_whole_photo_agree():
    photo, raw, coarse = noise(128, 128), smooth(64, 1), smooth(64, 2)
    edit = smooth(64, 5, reach=0.4)
    corners = np.array([[0, 0], [0, 128], [128, 128], [128, 0]], dtype=float)
    whole = Canvas.of_photo(photo, corners, raw, coarse).blend(raw + edit, coarse + edit)
    preview = Canvas.of_face(photo, raw, coarse).blend(raw + edit, coarse + edit)
    inner = slice(int(128 * FEATHER) + 4, -int(128 * FEATHER) - 4)
    assert difference(whole, preview)[inner, inner].max() <= 2


# --- manners ---------------------------------------------------------------------------------------------------------


def test_canvas_is_never_changed_by_an_edit():
    photo, raw, coarse = noise(220, 300), smooth(64, 1), smooth(64, 2)
    before = photo.copy()
    canvas = Canvas.of_photo(photo, QUADS["turned"], raw, coarse)
    first = canvas.blend(-raw, -coarse)
    canvas.blend(raw + 0.2, checks(64))
    assert np.array_equal(canvas.blend(-raw, -coarse), first)
    assert np.array_equal(canvas.blend(raw, coarse), before)
    assert np.array_equal(photo, before)
    assert canvas.nbytes > canvas.lost.nbytes


def test_read_only_photo_will_do():
    photo = noise(64, 64)
    photo.flags.writeable = False
    raw = smooth(64)
    out = Canvas.of_face(photo, raw, raw).blend(-raw, raw)
    assert out.flags.writeable


def test_a_known_truth_is_met_better_than_by_the_render():
    """A face moved by five pixels, grain and all: the render has lost the grain, the composite brings it along."""
    photo, grain, after, old, new = moved_face(MOVE)
    truth = after * 0.7 + np.roll(grain, MOVE, axis=1)
    inner = slice(20, -20)
    composed = np.abs(Canvas.of_face(photo, old, old).blend(new, new) - truth)[inner, inner].mean()
    rendered = np.abs(images.to_levels(new) - truth)[inner, inner].mean()
    assert composed < rendered
