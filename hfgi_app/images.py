"""The only place pixels change form: files, bytes, arrays and tensors.

A photo is uint8 H x W x 3, sRGB, upright (types.Photo); a tensor is float32 1 x 3 x H x W, RGB in [-1, 1].
Files come from strangers: everything is judged by size before it is decoded, and every failure is one PhotoError.
Exports carry what this program has to say and nothing of the source's own metadata (place, camera, owner).
"""

from __future__ import annotations

import io
import os
import re
import secrets
from contextlib import suppress
from pathlib import Path
from xml.sax.saxutils import escape, unescape

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageCms, PngImagePlugin, TiffImagePlugin
from torch import Tensor
from torch.nn import functional

from hfgi_app.errors import PhotoError
from hfgi_app.types import Photo

MAX_BYTES = 25 * 2**20
MAX_PIXELS = 40_000_000  # Pillow and this module together then stay under 1 GB, whatever the file claims
MIN_SIDE = 16
SOFTWARE = "HFGI Studio"
EXTENSIONS = {".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG", ".webp": "WEBP"}

_FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "TIFF", "GIF")
_STATEMENT = f"Edited with {SOFTWARE}"
_SOURCE_TYPE = "http://cv.iptc.org/newscodes/digitalsourcetype/compositeWithTrainedAlgorithmicMedia"
_MAX_PACKET = 256 * 2**10
_XMP = """<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>
<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">
<rdf:Description rdf:about="" xmlns:xmp="http://ns.adobe.com/xap/1.0/" xmlns:dc="http://purl.org/dc/elements/1.1/"
 xmlns:Iptc4xmpExt="http://iptc.org/std/Iptc4xmpExt/2008-02-29/" xmlns:hfgi="urn:hfgi-studio:xmp#">
<xmp:CreatorTool>{software}</xmp:CreatorTool>
<dc:description><rdf:Alt><rdf:li xml:lang="x-default">{statement}</rdf:li></rdf:Alt></dc:description>
<Iptc4xmpExt:DigitalSourceType>{source_type}</Iptc4xmpExt:DigitalSourceType>
<hfgi:recipe>{recipe}</hfgi:recipe>
</rdf:Description></rdf:RDF></x:xmpmeta>
<?xpacket end="w"?>"""
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


# --- reading ---------------------------------------------------------------------------------------------------------


def read(source: str | os.PathLike[str] | bytes) -> Photo:
    """The photo in a file, or in the bytes of one: uint8 H x W x 3, sRGB, upright, white where it was see-through.

    Reads JPEG, PNG, WebP, BMP, TIFF and GIF; the first picture of those that hold several.
    Raises PhotoError where it is missing, too large, too small, damaged or no picture.
    """
    picture = _open(source)
    try:
        picture.load()
        picture = _upright(picture)
        return np.asarray(_srgb(picture))
    except Exception as error:  # a decoder fed by strangers may raise anything
        raise PhotoError("The photo is damaged or incomplete; save it again as JPEG or PNG.") from error


def read_recipe(source: str | os.PathLike[str] | bytes) -> str | None:
    """The recipe JSON that `write` put into a PNG, JPEG or WebP; None where there is none.

    The text is as the file has it: `EditRecipe.from_json` judges it. Raises PhotoError where the file is no picture.
    """
    packet = _open(source).info.get("xmp")
    if not isinstance(packet, bytes) or len(packet) > _MAX_PACKET:
        return None
    # Searched, not parsed: an XML parser would expand whatever entities a hostile packet defines.
    found = re.search(r"<hfgi:recipe>([^<]*)</hfgi:recipe>", packet.decode("utf-8", "replace"))
    return unescape(found[1]) if found else None


def _open(source: str | os.PathLike[str] | bytes) -> Image.Image:
    """A picture whose header has been read and judged; no pixel decoded yet."""
    data = source if isinstance(source, bytes) else _bytes(Path(source))
    if len(data) > MAX_BYTES:
        raise PhotoError(f"The photo is larger than {MAX_BYTES >> 20} MB; save a smaller copy of it.")
    try:
        picture = Image.open(io.BytesIO(data), formats=_FORMATS)
        pixels = _declared_pixels(picture)
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        pixels = MAX_PIXELS + 1
    except Exception as error:
        raise PhotoError("The photo cannot be opened; choose a JPEG, PNG or WebP picture.") from error
    if pixels > MAX_PIXELS:
        raise PhotoError(f"The photo has more than {MAX_PIXELS // 10**6} megapixels; save a smaller copy of it.")
    if min(picture.size) < MIN_SIDE:
        width, height = picture.size
        raise PhotoError(
            f"The photo is only {width} x {height} pixels; choose one of at least {MIN_SIDE} x {MIN_SIDE}."
        )
    if picture.mode == "F":
        raise PhotoError("The photo holds fractions with no known white; save it as an 8- or 16-bit picture.")
    return picture


def _declared_pixels(picture: Image.Image) -> int:
    """Pixels the decoder will make room for; the tiles of a TIFF may be declared larger than the picture itself."""
    tags = picture.tag_v2 if isinstance(picture, TiffImagePlugin.TiffImageFile) else {}
    return max(picture.width * picture.height, int(tags.get(322, 1)) * int(tags.get(323, 1)))


def _bytes(path: Path) -> bytes:
    try:
        if not path.is_file():  # also keeps away from pipes and devices, which may never end
            raise PhotoError(f"There is no photo at {path}; check the name.")
        with path.open("rb") as file:
            return file.read(MAX_BYTES + 1)
    except OSError as error:
        raise PhotoError(f"The photo {path} cannot be read: {error.strerror}.") from error


def _upright(picture: Image.Image) -> Image.Image:
    """The decoded picture turned as its EXIF says; a new one, so that the decoder and its buffers can go."""
    try:
        turn = _UPRIGHT.get(picture.getexif().get(0x0112, 1))
    except Exception:  # broken EXIF: the pixels are still good
        turn = None
    return picture.copy() if turn is None else picture.transpose(turn)


def _srgb(picture: Image.Image) -> Image.Image:
    """8-bit RGB in sRGB, flattened on white."""
    profile = picture.info.get("icc_profile")
    if picture.mode.startswith("I"):  # 16-bit grey; Pillow's own conversion would cut it off at 255
        grey = np.clip(np.asarray(picture, dtype=np.float32) / 257 + 0.5, 0, 255)
        picture = Image.fromarray(grey.astype(np.uint8))
    elif picture.has_transparency_data:
        see_through = picture if picture.mode == "RGBA" else picture.convert("RGBA")
        picture = Image.new("RGB", picture.size, "white")
        picture.paste(see_through, mask=see_through)
    if profile and picture.mode in ("L", "RGB", "CMYK"):
        try:
            source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
            converted = ImageCms.profileToProfile(picture, source, ImageCms.createProfile("sRGB"), outputMode="RGB")
            picture = converted or picture
        except (ImageCms.PyCMSError, OSError, ValueError):
            pass  # a broken or foreign profile: take the numbers as sRGB, as browsers do
    return picture.convert("RGB")


# --- writing ---------------------------------------------------------------------------------------------------------


def write(path: str | os.PathLike[str], photo: Photo, recipe_json: str | None = None) -> None:
    """Write a photo as PNG, JPEG or WebP, by the extension; whole or not at all.

    recipe_json  what was done to it, carried in the file together with the statement that it was edited; None: neither.
    Raises PhotoError for another extension, or where the file cannot be written.
    """
    path = Path(path)
    format = EXTENSIONS.get(path.suffix.lower())
    if format is None:
        raise PhotoError(f"A picture cannot be saved as {path.name}; let its name end in .png, .jpg or .webp.")
    data = encode(photo, format, recipe_json=recipe_json)
    part = path.with_name(f".hfgi-{secrets.token_hex(8)}")
    try:
        part.write_bytes(data)
        part.replace(path)
    except OSError as error:
        raise PhotoError(f"The picture {path} cannot be written: {error.strerror}.") from error
    finally:
        with suppress(OSError):  # there is nothing left of it after success
            part.unlink()


def encode(photo: Photo, format: str, *, quality: int = 95, recipe_json: str | None = None) -> bytes:
    """The bytes of a photo as "PNG", "JPEG" or "WEBP".

    quality  1..100 for JPEG and WebP; from 90 up a JPEG keeps its colours at full resolution.
    Raises PhotoError where the format cannot hold the picture.
    """
    picture, file = Image.fromarray(photo), io.BytesIO()
    options: dict[str, object] = {"quality": quality}
    if format == "PNG":
        options = {"compress_level": 3}  # half the time of Pillow's default for a few percent of size
    elif format == "JPEG":
        options["subsampling"] = "4:4:4" if quality >= 90 else "4:2:0"
    if recipe_json is not None:
        options |= _statement(format, recipe_json)
    try:
        picture.save(file, format, **options)
    except (OSError, ValueError) as error:  # too many pixels a side, or a recipe longer than a JPEG segment
        raise PhotoError(f"This picture does not fit into a {format} file; save it as PNG.") from error
    return file.getvalue()


def _statement(format: str, recipe_json: str) -> dict[str, object]:
    """Save options that make the file say how it was made: an XMP packet; a PNG also has the same as plain texts."""
    xmp = _XMP.format(software=SOFTWARE, statement=_STATEMENT, source_type=_SOURCE_TYPE, recipe=escape(recipe_json))
    if format != "PNG":
        return {"xmp": xmp.encode()}
    texts = PngImagePlugin.PngInfo()
    for key, text in (
        ("Software", SOFTWARE),
        ("Comment", _STATEMENT),
        ("hfgi:recipe", recipe_json),
        ("XML:com.adobe.xmp", xmp),
    ):
        texts.add_itxt(key, text)
    return {"pnginfo": texts}


# --- arrays and tensors ----------------------------------------------------------------------------------------------


def to_tensor(photo: Photo) -> Tensor:
    """uint8 H x W x 3 -> float32 1 x 3 x H x W in [-1, 1]; `to_photo` gives every value back exactly."""
    return torch.tensor(photo).permute(2, 0, 1)[None].float().div(127.5).sub(1).contiguous()


def unpacked(pictures: Tensor) -> Tensor:
    """uint8 N x 3 x H x W, as many pictures are kept -> float32 in [-1, 1]."""
    return pictures.float() / 127.5 - 1


def packed(pictures: Tensor) -> Tensor:
    """N x 3 x H x W -> uint8: clamped to [-1, 1] and rounded; `unpacked` turned round."""
    return ((pictures.clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8)


def to_levels(tensor: Tensor) -> NDArray[np.float32]:
    """1 x 3 x H x W -> float32 H x W x 3 in 0..255: clamped to [-1, 1], not rounded."""
    levels = tensor.detach()[0].permute(1, 2, 0).to("cpu", torch.float32).clone(memory_format=torch.contiguous_format)
    return np.asarray(levels.add_(1).mul_(127.5).clamp_(0, 255).numpy())


def to_photo(tensor: Tensor) -> Photo:
    """1 x 3 x H x W -> uint8 H x W x 3: clamped to [-1, 1] and rounded to the nearest level."""
    return np.rint(to_levels(tensor)).astype(np.uint8)


def resize(tensor: Tensor, size: int) -> Tensor:
    """N x C x H x W -> N x C x size x size: bilinear, corners not aligned, no antialias.

    Source: the resize that the published networks saw in training (HFGI, Wang et al. 2022, section 3.1).
    """
    return functional.interpolate(tensor, (size, size), mode="bilinear", align_corners=False, antialias=False)


def scale(photo: Photo, size: int) -> Photo:
    """The photo at size x size pixels, antialiased (Lanczos); a photo of that size comes back as it is."""
    return np.asarray(Image.fromarray(photo).resize((size, size), Image.Resampling.LANCZOS))
