"""Pixels in and out: every kind of file, hostile ones too, and exact round trips."""

import io
import struct
import subprocess
import sys
import zlib
from xml.etree import ElementTree

import numpy as np
import pytest
import torch
from PIL import Image, ImageCms, PngImagePlugin

from hfgi_app import images
from hfgi_app.errors import PhotoError
from hfgi_app.prompts import Prompt
from hfgi_app.types import EditRecipe

RECIPE = EditRecipe((("a/age", 2.0),), (Prompt('<b> & "é"', "漢 ]]> 🙂"),)).to_json()


def picture(width=48, height=32, seed=0):
    """Smooth random colours, so that lossy formats stay close."""
    small = np.random.default_rng(seed).integers(0, 256, (4, 6, 3), dtype=np.uint8)
    return np.asarray(Image.fromarray(small).resize((width, height), Image.Resampling.BICUBIC))


def saved(image, format, **options):
    file = io.BytesIO()
    image.save(file, format, **options)
    return file.getvalue()


def opened(path):
    return Image.open(io.BytesIO(path.read_bytes()))


def png(width, height, *chunks):
    """A PNG header with next to nothing behind it."""
    header = (b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    parts = [header, *chunks, (b"IDAT", zlib.compress(b"\0" * 99)), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in parts
    )


def sentence(caught):
    text = str(caught.value)
    assert text.endswith(".")
    assert "\n" not in text
    return text


# --- reading ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("format", ["PNG", "BMP", "TIFF"])
def test_lossless_files_come_back_exactly(format):
    photo = picture()
    read = images.read(saved(Image.fromarray(photo), format))
    assert read.dtype == np.uint8
    assert np.array_equal(read, photo)


@pytest.mark.parametrize("format", ["JPEG", "WEBP"])
def test_lossy_files_come_back_nearly(format):
    photo = picture()
    read = images.read(saved(Image.fromarray(photo), format, quality=95))
    assert np.abs(read.astype(int) - photo).mean() < 3


def test_path_text_and_bytes_are_the_same(tmp_path):
    path = tmp_path / "photo.png"
    path.write_bytes(saved(Image.fromarray(picture()), "PNG"))
    for source in (path, str(path), path.read_bytes()):
        assert np.array_equal(images.read(source), picture())


@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "TIFF"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_every_orientation_becomes_upright(format, orientation):
    upright = np.zeros((32, 48, 3), np.uint8)
    upright[:16, :24] = 255  # white top left
    inverse = {5: (np.transpose, (1, 0, 2)), 6: (np.rot90, 1), 7: (lambda a, _: a[::-1, ::-1].transpose(1, 0, 2), 0)}
    inverse |= {1: (lambda a, _: a, 0), 2: (np.flip, 1), 3: (np.rot90, 2), 4: (np.flip, 0), 8: (np.rot90, 3)}
    turn, how = inverse[orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    read = images.read(saved(Image.fromarray(np.ascontiguousarray(turn(upright, how))), format, exif=exif))
    assert read.shape == (32, 48, 3)
    assert read[4:12, 4:20].min() > 240
    assert max(read[20:, :].max(), read[:, 28:].max()) < 15


@pytest.mark.parametrize(("mode", "fill"), [("RGBA", (255, 0, 0, 0)), ("LA", (0, 0)), ("RGBA", (255, 255, 255, 9))])
def test_see_through_becomes_white(mode, fill):
    assert images.read(saved(Image.new(mode, (20, 20), fill), "PNG")).min() == 255


def test_half_see_through_is_half_way_to_white():
    assert images.read(saved(Image.new("RGBA", (20, 20), (0, 0, 0, 128)), "PNG"))[0, 0].tolist() == [127, 127, 127]


def test_see_through_palette_gif():
    image = Image.new("P", (20, 20), 0)
    image.putpalette([9, 9, 9, 200, 0, 0])
    image.paste(1, (10, 0, 20, 20))
    read = images.read(saved(image, "GIF", transparency=0))
    assert read[5, 5].tolist() == [255, 255, 255]
    assert read[5, 15].tolist() == [200, 0, 0]


def test_first_frame_of_an_animation():
    frames = [Image.new("RGB", (20, 20), colour) for colour in ("red", "blue")]
    for format in ("GIF", "WEBP"):
        read = images.read(saved(frames[0], format, save_all=True, append_images=frames[1:]))
        assert np.abs(read[0, 0].astype(int) - [255, 0, 0]).max() < 5


def test_phone_jpeg_of_several_pictures():
    data = saved(Image.new("RGB", (20, 20), "red"), "MPO", save_all=True, append_images=[Image.new("RGB", (20, 20))])
    assert Image.open(io.BytesIO(data)).format == "MPO"
    assert np.abs(images.read(data)[0, 0].astype(int) - [255, 0, 0]).max() < 5


@pytest.mark.parametrize(
    ("image", "format", "expected"),
    [
        (Image.new("1", (20, 20), 1), "PNG", 255),
        (Image.new("L", (20, 20), 77), "PNG", 77),
        (Image.new("CMYK", (20, 20), (0, 0, 0, 155)), "JPEG", 100),
        (Image.fromarray(np.full((20, 20), 257 * 77, np.uint16)), "PNG", 77),
        (Image.fromarray(np.full((20, 20), 65535, np.uint16)), "TIFF", 255),
        (Image.fromarray(np.full((20, 20), 300, np.uint16)), "PNG", 1),
    ],
)
def test_other_kinds_of_pixels(image, format, expected):
    assert np.abs(images.read(saved(image, format)).astype(int) - expected).max() <= 1


def swapped_profile():
    """sRGB with its red and green exchanged: what it calls red is green."""
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    return profile.replace(b"rXYZ", b"____").replace(b"gXYZ", b"rXYZ").replace(b"____", b"gXYZ")


def test_colour_profile_is_applied():
    data = saved(Image.new("RGB", (20, 20), (255, 0, 0)), "PNG", icc_profile=swapped_profile())
    assert np.abs(images.read(data)[0, 0].astype(int) - [0, 255, 0]).max() <= 2


def test_srgb_profile_changes_nothing():
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    assert np.array_equal(images.read(saved(Image.fromarray(picture()), "PNG", icc_profile=profile)), picture())


@pytest.mark.parametrize("profile", [b"nonsense", swapped_profile()[:300], b"\0" * 5000])
def test_broken_profile_is_ignored(profile):
    assert np.array_equal(images.read(saved(Image.fromarray(picture()), "PNG", icc_profile=profile)), picture())


def test_broken_exif_is_ignored():
    data = saved(Image.fromarray(picture()), "PNG", exif=b"Exif\0\0MM\0*\0\0\xff\xff garbage")
    assert np.array_equal(images.read(data), picture())


@pytest.mark.parametrize(
    ("data", "word"),
    [
        (b"", "cannot be opened"),
        (b"\x89PNG\r\n\x1a\n", "cannot be opened"),
        (b"<svg xmlns='http://www.w3.org/2000/svg' width='99' height='99'/>", "cannot be opened"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 99 99\n", "cannot be opened"),
        (np.random.default_rng(0).bytes(5000), "cannot be opened"),
        (png(60_000, 60_000), "40 megapixels"),
        (png(7000, 7000), "40 megapixels"),
        (png(15, 5000), "only 15 x 5000"),
        (png(640, 480), "damaged"),
        (saved(Image.fromarray(picture(640, 480)), "JPEG")[:3000], "damaged"),
        (saved(Image.fromarray(picture(640, 480)), "PNG")[:3000], "damaged"),
        (saved(Image.new("F", (20, 20)), "TIFF"), "no known white"),
        (bytes(images.MAX_BYTES + 1), "25 MB"),
    ],
)
@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_bad_files_are_refused_in_one_sentence(data, word):
    with pytest.raises(PhotoError) as caught:
        images.read(data)
    assert word in sentence(caught)


def test_tiff_with_giant_tiles_is_refused():
    data = bytearray(saved(Image.new("RGB", (64, 64)), "TIFF", compression="tiff_lzw"))
    start = struct.unpack_from("<I", data, 4)[0]
    for entry in range(start + 2, start + 2 + 12 * struct.unpack_from("<H", data, start)[0], 12):
        if struct.unpack_from("<H", data, entry)[0] == 278:  # rows per strip: pass it off as a tile's sides
            struct.pack_into("<HHII", data, entry, 322, 4, 1, 65_535 * 1000)
    with pytest.raises(PhotoError) as caught:
        images.read(bytes(data))
    assert "40 megapixels" in sentence(caught)


def test_missing_folder_and_pipe_are_refused(tmp_path):
    for path in (tmp_path / "none.jpg", tmp_path, "/dev/zero", str(tmp_path / ("x" * 300)), "bad\0name"):
        with pytest.raises(PhotoError) as caught:
            images.read(path)
        sentence(caught)


def test_damage_anywhere_is_a_photo_or_one_sentence():
    """Flipped and dropped bytes in every format: never another exception."""
    random = np.random.default_rng(1)
    refused = 0
    for format in ("JPEG", "PNG", "WEBP", "BMP", "TIFF", "GIF"):
        good = saved(Image.fromarray(picture(64, 64)), format)
        for _ in range(60):
            data = bytearray(good)
            for place in random.integers(0, len(data), 4):
                data[place] = random.integers(0, 256)
            try:
                images.read(bytes(data[: random.integers(len(data) // 2, len(data) * 2)]))
            except PhotoError:
                refused += 1
    assert refused > 60


MEASURE = """
import pathlib, resource, sys
from hfgi_app import images
from hfgi_app.errors import PhotoError

def peak():
    status = pathlib.Path("/proc/self/status")
    if status.exists():  # Linux hands a parent's own peak down to getrusage
        return int(status.read_text().split("VmHWM:")[1].split()[0]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

before = peak()
try:
    images.read(sys.argv[1])
except PhotoError:
    pass
print(peak() - before)
"""


def memory_mb(path):
    """Peak memory of reading a file, above that of the imports."""
    run = subprocess.run([sys.executable, "-c", MEASURE, path], capture_output=True, text=True, check=True)
    return int(run.stdout) / 2**20


def test_large_header_costs_no_memory(tmp_path):
    (tmp_path / "huge.png").write_bytes(png(60_000, 60_000))
    assert memory_mb(tmp_path / "huge.png") < 50


@pytest.mark.slow
def test_largest_photo_stays_under_one_gigabyte(tmp_path):
    Image.new("RGBA", (6300, 6300), (10, 20, 30, 99)).save(tmp_path / "large.webp", lossless=True, method=0)
    assert 100 < memory_mb(tmp_path / "large.webp") < 1000


# --- writing ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["out.png", "out.jpg", "out.JPEG", "out.webp"])
def test_recipe_travels_in_every_format(tmp_path, name):
    images.write(tmp_path / name, picture(), RECIPE)
    assert images.read_recipe(tmp_path / name) == RECIPE
    assert images.read_recipe((tmp_path / name).read_bytes()) == RECIPE
    assert np.abs(images.read(tmp_path / name).astype(int) - picture()).mean() < 3


@pytest.mark.parametrize("name", ["out.png", "out.jpg", "out.webp"])
def test_export_says_that_it_was_edited(tmp_path, name):
    images.write(tmp_path / name, picture(), RECIPE)
    packet = opened(tmp_path / name).info["xmp"].decode()
    assert "HFGI Studio" in packet
    assert "Edited with HFGI Studio" in packet
    assert "http://cv.iptc.org/newscodes/digitalsourcetype/compositeWithTrainedAlgorithmicMedia" in packet


def test_packet_is_well_formed_xml(tmp_path):
    images.write(tmp_path / "out.jpg", picture(), RECIPE)
    root = ElementTree.fromstring(opened(tmp_path / "out.jpg").info["xmp"].decode())
    assert root.find(".//{urn:hfgi-studio:xmp#}recipe").text == RECIPE


def test_png_holds_plain_texts_too(tmp_path):
    images.write(tmp_path / "out.png", picture(), RECIPE)
    texts = opened(tmp_path / "out.png").text
    assert texts["Software"] == "HFGI Studio"
    assert EditRecipe.from_json(texts["hfgi:recipe"]) == EditRecipe.from_json(RECIPE)


def test_png_is_exact_and_plain_without_a_recipe(tmp_path):
    images.write(tmp_path / "out.png", picture())
    assert np.array_equal(images.read(tmp_path / "out.png"), picture())
    assert images.read_recipe(tmp_path / "out.png") is None
    assert not opened(tmp_path / "out.png").text


@pytest.mark.parametrize("name", ["out.bmp", "out", "out.png.exe", "out.gif"])
def test_unknown_extension_is_refused(tmp_path, name):
    with pytest.raises(PhotoError) as caught:
        images.write(tmp_path / name, picture())
    assert ".png, .jpg or .webp" in sentence(caught)
    assert not list(tmp_path.iterdir())


def test_write_replaces_and_leaves_nothing_else(tmp_path):
    (tmp_path / "out.png").write_bytes(b"old")
    images.write(tmp_path / "out.png", picture())
    assert [path.name for path in tmp_path.iterdir()] == ["out.png"]
    assert np.array_equal(images.read(tmp_path / "out.png"), picture())


def test_failed_write_leaves_the_old_file_alone(tmp_path, monkeypatch):
    (tmp_path / "out.png").write_bytes(b"old")

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("pathlib.Path.replace", full)
    with pytest.raises(PhotoError) as caught:
        images.write(tmp_path / "out.png", picture())
    assert "No space left" in sentence(caught)
    assert [path.read_bytes() for path in tmp_path.iterdir()] == [b"old"]


def test_places_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_bytes(b"")
    (tmp_path / "folder.png").mkdir()
    for path in (tmp_path / "none" / "out.png", tmp_path / "file" / "out.png", tmp_path / "folder.png"):
        with pytest.raises(PhotoError) as caught:
            images.write(path, picture())
        sentence(caught)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "folder.png"]


def test_what_a_format_cannot_hold_is_refused(tmp_path):
    for name, photo, recipe in (
        ("a.jpg", picture(), "x" * 70_000),
        ("a.webp", np.zeros((16, 17_000, 3), np.uint8), None),
    ):
        with pytest.raises(PhotoError) as caught:
            images.write(tmp_path / name, photo, recipe)
        assert "save it as PNG" in sentence(caught)
    assert not list(tmp_path.iterdir())


def test_nothing_of_the_source_is_copied(tmp_path):
    exif = Image.Exif()
    exif.get_ifd(0x8825)[1] = "N"
    exif[0x010F] = "SecretCamera"
    source = saved(Image.fromarray(picture()), "JPEG", exif=exif, comment=b"SecretComment", xmp=b"<x>SecretXmp</x>")
    for name in ("out.png", "out.jpg", "out.webp"):
        images.write(tmp_path / name, images.read(source), RECIPE)
        assert b"Secret" not in (tmp_path / name).read_bytes()
        assert not opened(tmp_path / name).getexif()


def test_jpeg_quality_decides_the_size():
    photo = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    assert len(images.encode(photo, "JPEG", quality=60)) < len(images.encode(photo, "JPEG", quality=95)) / 2


# --- hostile recipes -------------------------------------------------------------------------------------------------


def test_entities_are_never_expanded():
    bomb = "".join(f'<!ENTITY a{i + 1} "{f"&a{i};" * 10}">' for i in range(9))
    xmp = f'<!DOCTYPE r [<!ENTITY a0 "ha">{bomb}]><r><hfgi:recipe>&a9;</hfgi:recipe></r>'
    data = saved(Image.fromarray(picture()), "JPEG", xmp=xmp.encode())
    assert images.read_recipe(data) == "&a9;"


def test_giant_packet_is_ignored():
    texts = PngImagePlugin.PngInfo()
    texts.add_itxt("XML:com.adobe.xmp", "<hfgi:recipe>" + " " * 500_000 + "</hfgi:recipe>")
    assert images.read_recipe(saved(Image.fromarray(picture()), "PNG", pnginfo=texts)) is None


def test_packet_of_another_program_holds_no_recipe():
    assert images.read_recipe(saved(Image.fromarray(picture()), "WEBP", xmp=b"\xff\xfe<x:xmpmeta/>")) is None


def test_recipe_of_no_picture_is_refused(tmp_path):
    (tmp_path / "text.png").write_text(RECIPE)
    with pytest.raises(PhotoError):
        images.read_recipe(tmp_path / "text.png")


# --- tensors ---------------------------------------------------------------------------------------------------------


def test_every_value_survives_the_round_trip():
    photo = np.arange(256, dtype=np.uint8).repeat(3).reshape(16, 16, 3)
    tensor = images.to_tensor(photo)
    assert tensor.shape == (1, 3, 16, 16)
    assert tensor.dtype == torch.float32
    assert (tensor.min(), tensor.max()) == (-1, 1)
    assert np.array_equal(images.to_photo(tensor), photo)


def test_axes_and_channels_keep_their_places():
    photo = picture(20, 16)
    tensor = images.to_tensor(photo)
    assert tensor[0, 2, 5, 7].item() == pytest.approx(photo[5, 7, 2] / 127.5 - 1, abs=1e-6)


def test_to_photo_clamps_and_rounds():
    values = torch.tensor([-9.0, -1.0, (100.4 / 127.5) - 1, (100.6 / 127.5) - 1, 1.0, 9.0])
    tensor = values.expand(1, 3, 1, 6)
    assert images.to_photo(tensor)[0, :, 0].tolist() == [0, 0, 100, 101, 255, 255]


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_tensors_are_never_written_to(layout):
    tensor = torch.randn(1, 3, 8, 8).to(memory_format=layout)
    before = tensor.clone()
    levels = images.to_levels(tensor)
    assert torch.equal(tensor, before)
    assert levels.flags.c_contiguous
    assert levels[3, 4, 1] == pytest.approx((tensor[0, 1, 3, 4].clamp(-1, 1).item() + 1) * 127.5, abs=1e-4)


def test_resize_is_bilinear_without_antialias():
    tensor = torch.arange(16.0).reshape(1, 1, 4, 4)
    assert images.resize(tensor, 2).flatten().tolist() == [2.5, 4.5, 10.5, 12.5]
    stripes = torch.tensor([1.0, -1, -1, -1]).repeat(4)[None, None, None].expand(1, 1, 16, 16)
    assert images.resize(stripes, 4).unique().tolist() == [-1]  # antialias would have let the bright columns through


def test_scale_is_antialiased_and_exact_at_its_own_size():
    photo = np.zeros((64, 64, 3), np.uint8)
    photo[:, ::2] = 255
    assert np.abs(images.scale(photo, 16).astype(int) - 127.5).max() < 20
    assert np.array_equal(images.scale(photo, 64), photo)
