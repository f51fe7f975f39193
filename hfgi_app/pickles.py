"""PyTorch checkpoint files, read without running anything in them."""

from __future__ import annotations

import argparse
import io
import pickle
import pickletools
import re
import zipfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from hfgi_app.errors import WeightsError

SIZE_LIMIT = 4 << 30
LEGACY_LIMIT = 1 << 30
"""Files from before PyTorch 1.6 cannot be mapped and must fit in memory."""
PICKLE_LIMIT = 2 << 20
"""The published files describe their tensors in about 0.3 MB."""
LEGACY_PICKLES = 5
HARMLESS = re.compile(
    r"collections OrderedDict|argparse Namespace|torch (Size|device|\w+Storage)"
    r"|torch\._utils (_rebuild_tensor|_rebuild_tensor_v2|_rebuild_parameter)"
)

ARRAYS = re.compile(r"numpy\.core\.multiarray (_reconstruct|scalar)|numpy (ndarray|dtype)|_codecs encode")
ARRAYS_LIMIT = 1 << 20


def read_arrays(path: Path) -> Any:  # noqa: ANN401
    """Lists of NumPy arrays from a plain pickle, as StyleCLIP's statistics are; nothing in the file is run.

    Raises WeightsError for every other file.
    """
    check_file(path)
    if path.stat().st_size > ARRAYS_LIMIT:
        raise WeightsError(f"{path.name} is larger than 1 MB; it is no list of arrays.")
    content = path.read_bytes()
    try:
        _check_names(path, io.BytesIO(content), 1, ARRAYS)
        return pickle.loads(content, encoding="latin1")
    except WeightsError:
        raise
    except Exception:  # a damaged pickle can raise anything
        raise WeightsError(f"{path.name} is no readable list of arrays; fetch it again.") from None


def read_pickle(path: Path) -> Any:  # noqa: ANN401
    """What torch.save wrote, on the CPU: tensors, dictionaries, lists, numbers, texts, argparse.Namespace.

    Nothing in the file is ever run, tensors are mapped where the format allows it, and what it names and claims is
    looked at before memory is taken. Raises WeightsError for every file that is not such a file, whole and harmless.
    """
    check_file(path)
    try:
        mapped = _look_through(path)
        with torch.serialization.safe_globals([argparse.Namespace]):
            content = torch.load(path, map_location="cpu", weights_only=True, mmap=mapped)
    except WeightsError:
        raise
    except Exception:  # a damaged pickle can raise anything
        raise WeightsError(
            f"{path.name} is no readable PyTorch checkpoint; expected a file that torch.save wrote, whole."
        ) from None
    claimed = sum(tensor.numel() * tensor.element_size() for tensor in _leaves(content))
    if claimed > 2 * path.stat().st_size:  # tensors may share values, but not without end
        raise WeightsError(f"{path.name} claims more values than it holds; it is damaged.")
    return content


def check_file(path: Path) -> None:
    """Raises WeightsError for what is no file, or larger than any published checkpoint."""
    try:
        size = path.stat().st_size if path.is_file() else -1
    except OSError:  # such as a name that is too long
        size = -1
    if size < 0:
        raise WeightsError(f"{path.name:.80} is no file; expected a checkpoint.")
    if size > SIZE_LIMIT:
        raise WeightsError(f"{path.name} is larger than 4 GB; no published checkpoint is.")


def _look_through(path: Path) -> bool:
    """Check what the file names before anything is built from it. True where its tensors can be mapped.

    torch.load refuses unsafe names too, but lets through some that merely take memory.
    """
    with path.open("rb") as file:
        if file.read(4) != b"PK\3\4":
            if path.stat().st_size > LEGACY_LIMIT:
                raise WeightsError(f"{path.name} is too large for the format from before PyTorch 1.6; save it again.")
            file.seek(0)
            _check_names(path, io.BytesIO(file.read(PICKLE_LIMIT)), LEGACY_PICKLES)
            return False
    with zipfile.ZipFile(path) as archive:
        entries = archive.infolist()
        pickles = [entry for entry in entries if entry.filename.endswith("/data.pkl")]
        stored = all(entry.compress_type == zipfile.ZIP_STORED for entry in entries)
        if len(pickles) != 1 or not stored or pickles[0].file_size > PICKLE_LIMIT:
            raise WeightsError(f"{path.name} is an archive, but not one that torch.save wrote.")
        _check_names(path, io.BytesIO(archive.read(pickles[0])), 1)
        if archive.testzip() is not None:
            raise WeightsError(f"{path.name} is damaged: its checksums do not match; fetch or copy it again.")
    return True


def _check_names(path: Path, stream: io.BytesIO, pickles: int, harmless: re.Pattern[str] = HARMLESS) -> None:
    for _ in range(pickles):
        for opcode, argument, _position in pickletools.genops(stream):
            named = "GLOBAL" in opcode.name or opcode.name in ("INST", "EXT1", "EXT2", "EXT4")
            if named and not harmless.fullmatch(str(argument)):
                found = f"{argument or 'something'!s:.60}".replace(" ", ".")
                raise WeightsError(f"{path.name} asks for {found}, which no weights file needs; it was not opened.")


def _leaves(content: object) -> Iterable[Tensor]:
    """Every tensor in nested dictionaries, lists and tuples, each container once."""
    waiting, seen = [content], set[int]()
    while waiting:
        item = waiting.pop()
        if isinstance(item, Tensor):
            yield item
        elif isinstance(item, Mapping | list | tuple) and id(item) not in seen:
            seen.add(id(item))
            waiting.extend(item.values() if isinstance(item, Mapping) else item)
