"""Stage `data`: folders of aligned face pictures -> one pack that every other stage reads.

A pack is an .npz: pictures uint8 N x S x S x 3, persons uint8 N x S x S (255 where a person surely is, found by
MediaPipe, so that no later stage needs it), sharp and test as booleans N, names, and labels float32 N x K with NaN
where unknown. Pictures come from a folder's `labels.csv` (columns file, and where present split and native_crop_px;
every column of numbers, or of exactly two words, becomes a label), else from every picture in it.
"""

from __future__ import annotations

import csv
import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from zipfile import BadZipFile

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from tqdm import tqdm

from hfgi_app import face, images

SUFFIXES = {".jpg", ".jpeg", ".png", ".webp"}
TEST_SHARE = 0.1


@dataclass(frozen=True)
class Entry:
    """One picture: sharp means that its native crop was at least as large as the pack's pictures."""

    path: Path
    sharp: bool
    test: bool
    labels: Mapping[str, str]


@dataclass(frozen=True, eq=False)
class Pack:
    """All pictures in memory: N x 3 x S x S uint8, channels last in memory; persons N x 1 x S x S uint8."""

    pictures: Tensor
    persons: Tensor
    sharp: Tensor
    test: Tensor
    names: tuple[str, ...]
    labels: Mapping[str, Tensor]

    def indices(self, *, test: bool, sharp: bool = False) -> Tensor:
        """Positions of the training or test pictures, of the sharp ones only where asked.

        Raises ValueError where there is none.
        """
        chosen = self.test if test else ~self.test
        found = (chosen & self.sharp if sharp else chosen).nonzero()[:, 0]
        if not len(found):
            kind = f"{'sharp ' if sharp else ''}{'test' if test else 'training'} picture"
            raise ValueError(f"The pack has no {kind}; make it from more, or larger, pictures.")
        return found

    def batch(self, indices: Tensor, size: int, device: torch.device) -> Tensor:
        """float32 B x 3 x size x size in [-1, 1]; smaller sizes by area averaging."""
        return shrink(images.unpacked(self.pictures[indices].to(device)), size)

    def people(self, indices: Tensor, size: int, device: torch.device) -> Tensor:
        """float32 B x 1 x size x size in 0..1: how sure it is that a place shows the person."""
        return shrink(self.persons[indices].to(device).float() / 255, size)


def shrink(pictures: Tensor, size: int) -> Tensor:
    """Area-average to a size that divides the present one. Raises ValueError where it does not."""
    side = pictures.shape[-1]
    if side % size:
        raise ValueError(f"The pack has pictures of {side} px, not to be had at {size} px; make it with --size {size}.")
    factor = side // size
    return torch.nn.functional.avg_pool2d(pictures, factor) if factor > 1 else pictures


def entries(folder: Path, size: int) -> list[Entry]:
    """The pictures of one folder, in a fixed order.

    Raises ValueError for a table that names no files, FileNotFoundError where one of them is missing.
    """
    labels = folder / "labels.csv"
    if not labels.exists():
        paths = sorted(path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES)
        return [Entry(path, True, _is_test(path.name), {}) for path in paths]
    with labels.open(newline="", encoding="utf-8") as file:
        table = csv.DictReader(file)
        if "file" not in (table.fieldnames or ()):
            raise ValueError("labels.csv has no column named file; it says which picture a row is about.")
        return [_labelled(folder, row, size) for row in table]


def gather(folders: Iterable[Path], size: int) -> Pack:
    """Read and shrink (Lanczos) the pictures of all folders; at least one is for testing.

    Raises FileNotFoundError where the folders hold no two pictures, ValueError where one is not square.
    """
    found = [entry for folder in folders for entry in entries(folder, size)]
    if len(found) < 2:
        raise FileNotFoundError(
            "Fewer than two pictures found; give folders of aligned square JPEG, PNG or WebP files."
        )
    if not any(entry.test for entry in found):
        found[-1] = replace(found[-1], test=True)
    pictures, persons = [], []
    for entry in tqdm(found, desc="data", unit="picture"):
        pictures.append(_read(entry.path, size))
        persons.append(np.rint(255 * face.person(pictures[-1])).astype(np.uint8))
    sharp, test = (torch.tensor([getattr(entry, name) for entry in found]) for name in ("sharp", "test"))
    labels = {name: torch.from_numpy(values) for name, values in _labels(found).items()}
    names = tuple(entry.path.stem for entry in found)
    return Pack(_planes(np.stack(pictures)), _planes(np.stack(persons)[..., None]), sharp, test, names, labels)


def make(folders: Iterable[Path], out: Path, size: int) -> Pack:
    """Gather the pictures of all folders and store them as a pack, whole or not at all."""
    pack = gather(folders, size)
    out.parent.mkdir(parents=True, exist_ok=True)
    part = out.with_suffix(".part")
    with part.open("wb") as file:
        np.savez(
            file,
            pictures=pack.pictures.permute(0, 2, 3, 1).numpy(),
            persons=pack.persons[:, 0].numpy(),
            sharp=pack.sharp.numpy(),
            test=pack.test.numpy(),
            names=np.array(pack.names),
            **{f"label_{name}": values.numpy() for name, values in pack.labels.items()},
        )
    part.replace(out)
    return pack


def load(path: Path) -> Pack:
    """Read a pack. Raises FileNotFoundError where there is none, ValueError where it is something else."""
    if not path.exists():
        raise FileNotFoundError(f"There is no {path}; make it with `train data FOLDER ...` first.")
    try:
        return _load(path)
    except (KeyError, ValueError, EOFError, BadZipFile):
        raise ValueError(f"{path.name} is no training pack; make one with `train data FOLDER ...`.") from None


def _load(path: Path) -> Pack:
    with np.load(path) as arrays:
        pictures, persons = _planes(arrays["pictures"]), _planes(arrays["persons"][..., None])
        sharp, test = (torch.from_numpy(arrays[key]) for key in ("sharp", "test"))
        keys = [key for key in arrays.files if key.startswith("label_")]
        labels = {key.removeprefix("label_"): torch.from_numpy(arrays[key]) for key in keys}
        return Pack(pictures, persons, sharp, test, tuple(str(name) for name in arrays["names"]), labels)


def _labelled(folder: Path, row: dict[str, str], size: int) -> Entry:
    native = float(row.get("native_crop_px") or size)
    path = folder / row["file"]
    if not path.exists():  # a table may name its files from the folder above
        path = folder.parent / row["file"]
    if not path.exists():
        raise FileNotFoundError(f"labels.csv names {row['file']}, which is not there.")
    split = row.get("split") or ("test" if _is_test(path.name) else "train")
    return Entry(path, native >= size, split == "test", row)


def _labels(found: list[Entry]) -> dict[str, NDArray[np.float32]]:
    """Columns of numbers, and columns of two words as 0 and 1 in alphabetical order; NaN where a cell is empty."""
    labels = {}
    for name in sorted({name for entry in found for name in entry.labels}):
        cells = [entry.labels.get(name) or "" for entry in found]
        words = sorted(set(cells) - {""})
        if not words:
            continue
        try:
            known = {word: float(word) for word in words}
        except ValueError:
            if len(words) != 2:
                continue
            known = {words[0]: 0.0, words[1]: 1.0}
        labels[name] = np.array([known.get(cell, np.nan) for cell in cells], np.float32)
    return labels


def _is_test(name: str) -> bool:
    return int(hashlib.sha1(name.encode()).hexdigest(), 16) % 1000 < TEST_SHARE * 1000


def _planes(pictures: NDArray[np.uint8]) -> Tensor:
    """N x S x S x C -> N x C x S x S, channels last in memory."""
    return torch.from_numpy(pictures).permute(0, 3, 1, 2)


def _read(path: Path, size: int) -> NDArray[np.uint8]:
    with Image.open(path) as picture:
        if picture.width != picture.height:
            raise ValueError(f"{path.name} is not square; give aligned pictures, as wide as high.")
        return np.asarray(picture.convert("RGB").resize((size, size), Image.Resampling.LANCZOS))
