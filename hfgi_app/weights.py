"""Weights files: the published ones by name, fetching and converting them, and safetensors files of our own.

A safetensors file here carries text metadata: "config" is JSON, one network's constructor arguments by its name.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from hfgi_app.errors import WeightsError
from hfgi_app.pickles import check_file
from hfgi_app.pickles import read_arrays as read_arrays
from hfgi_app.pickles import read_pickle as read_pickle
from hfgi_app.published import CATALOGUE as CATALOGUE
from hfgi_app.published import MAPPERS as MAPPERS
from hfgi_app.published import WeightSpec as WeightSpec
from hfgi_app.published import spec as spec

Tensors = dict[str, Tensor]
Metadata = dict[str, str]
Progress = Callable[[int, int], None]
"""Called with bytes done and bytes in all."""


def fetch(wanted: WeightSpec, progress: Progress | None = None) -> Path:
    """Path of the file among the Hub's cached assets, downloaded where it is not there yet, and checked each time.

    An interrupted download resumes, also in a later run. Without `progress` the Hub's own bar shows on standard error.
    Raises WeightsError where the file has no mirror, cannot be reached, or is not the expected one.
    """
    if wanted.repo is None:
        hint = f"get {Path(wanted.file).name} from {wanted.source} and pass its path or folder"
        raise WeightsError(f"{wanted.name} has no mirror to fetch from; {hint}.")
    path = _place(wanted)
    if not path.exists():
        _download(wanted, path, progress)
    try:
        verify(wanted, path)
    except WeightsError:
        path.unlink()
        raise
    return path


def at_hand(wanted: WeightSpec) -> Path | None:
    """Path of the file where it was fetched before; nothing is downloaded."""
    path = _place(wanted)
    return path if path.exists() else None


def verify(wanted: WeightSpec, path: Path) -> None:
    """Raises WeightsError where a file is not the catalogue's."""
    if wanted.sha256 not in (None, sha256(path)):
        raise WeightsError(f"{path.name} is not the published {wanted.name} or is damaged; fetch it again.")


def sha256(path: Path) -> str:
    """Hexadecimal SHA-256 of a file's bytes. Raises WeightsError where it cannot be read."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise WeightsError(f"{path.name} cannot be read: {error.strerror or 'it is no file'}.") from None


def save(path: Path, tensors: Mapping[str, Tensor], metadata: Metadata) -> None:
    """Write a safetensors file whole or not at all. Raises OSError where the folder cannot be written."""
    unfinished = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, unfinished, metadata)
        unfinished.chmod(0o644)  # the library keeps it to its owner
        unfinished.replace(path)
    except SafetensorError as error:  # how a folder without room or permission shows
        raise OSError(str(error)) from error
    finally:
        unfinished.unlink(missing_ok=True)


def load(path: Path) -> tuple[Tensors, Metadata]:
    """Tensors (mapped, on the CPU) and metadata. Raises WeightsError for a missing, foreign or damaged file."""
    try:
        with safe_open(path, framework="pt") as file:
            return {name: file.get_tensor(name) for name in file.keys()}, file.metadata() or {}  # noqa: SIM118
    except FileNotFoundError:
        raise WeightsError(f"{path.name} is missing; expected a safetensors file there.") from None
    except (OSError, SafetensorError):
        raise WeightsError(f"{path.name} is no readable safetensors file; it is foreign or damaged.") from None


def part(tensors: Mapping[str, Tensor], name: str) -> Tensors:
    """Tensors whose names begin with "name.", without it."""
    prefix = f"{name}."
    return {key.removeprefix(prefix): tensor for key, tensor in tensors.items() if key.startswith(prefix)}


def converted(path: Path, translate: Callable[[Any], tuple[Tensors, Metadata]]) -> tuple[Tensors, Metadata]:
    """A published checkpoint by our names, translated once and kept beside it as "<file>.safetensors".

    The kept file remembers the source's sha256 and is made anew when the source changed. In a folder that cannot be
    written the result stays in memory. Raises WeightsError as `read_pickle` and `translate` do.
    """
    check_file(path)
    digest = sha256(path)
    beside = path.with_name(f"{path.name}.safetensors")
    try:
        tensors, metadata = load(beside)
        if metadata.get("source_sha256") == digest:
            return tensors, metadata
    except WeightsError:
        pass  # not there yet, or damaged: made below
    tensors, metadata = translate(read_pickle(path))
    metadata = {**metadata, "source_sha256": digest}
    try:
        save(beside, tensors, metadata)
    except OSError:
        return tensors, metadata
    return load(beside)


def load_strict(module: nn.Module, tensors: Mapping[str, Tensor], what: str) -> None:
    """Put tensors into a module, which may be on the meta device; they take the module's number types.

    what: the subject of the error's sentence, such as "the encoder weights". Batch counters, which no network here
    reads, may be missing. Raises WeightsError where names or shapes differ.
    """
    own = module.state_dict()
    counters = (name for name in own if name.endswith("num_batches_tracked"))
    given = {name: torch.zeros((), dtype=torch.long) for name in counters} | dict(tensors)
    missing, unknown = own.keys() - given.keys(), given.keys() - own.keys()
    misshapen = [name for name in own.keys() & given.keys() if own[name].shape != given[name].shape]
    faults = [f"lack {_few(missing)}"] if missing else []
    faults += [f"have the unknown {_few(unknown)}"] if unknown else []
    faults += [f"have {name} as {_shape(given[name])}, not {_shape(own[name])}" for name in sorted(misshapen)[:1]]
    if faults:
        raise WeightsError(f"{what[0].upper()}{what[1:]} do not fit their network: they {' and '.join(faults)}.")
    module.load_state_dict({name: given[name].to(own[name].dtype) for name in own}, assign=True)


def _place(wanted: WeightSpec) -> Path:
    from huggingface_hub import cached_assets_path

    return cached_assets_path("hfgi-studio", wanted.name, "published") / Path(wanted.file).name


def _download(wanted: WeightSpec, path: Path, progress: Progress | None) -> None:
    # hf_hub_download would start a download anew that an earlier run could not finish.
    from huggingface_hub import get_hf_file_metadata, hf_hub_url
    from huggingface_hub.file_download import http_get

    unfinished = path.with_name(f"{path.name}.part")
    try:
        kind = "space" if wanted.space else "model"
        found = get_hf_file_metadata(hf_hub_url(str(wanted.repo), wanted.file, repo_type=kind))
        with unfinished.open("ab") as file:
            http_get(
                found.location,
                file,
                resume_size=file.tell(),
                expected_size=found.size,
                displayed_filename=path.name,
                tqdm_class=_bar(progress),
            )
    except Exception as error:  # the Hub's client raises from several libraries
        hint = "check the connection and fetch again (it resumes)"
        raise WeightsError(f"{wanted.name} could not be fetched from {wanted.repo}; {hint}.") from error
    unfinished.replace(path)


def _bar(progress: Progress | None) -> type[Any] | None:
    """The Hub's progress bar, telling `progress` as well."""
    if progress is None:
        return None
    from huggingface_hub.utils.tqdm import tqdm

    report = progress

    class Bar(tqdm):
        def update(self, n: float | None = 1) -> bool | None:
            shown: bool | None = super().update(n)
            if self.disable:  # then the bar does not count
                self.n += n or 0
            report(int(self.n), int(self.total or 0))
            return shown

    return Bar


def _shape(tensor: Tensor) -> str:
    return " x ".join(str(size) for size in tensor.shape) or "a number"


def _few(names: Iterable[str]) -> str:
    """The first few names, for a sentence."""
    known = sorted(names)
    return ", ".join(known[:4]) + (f" and {len(known) - 4} more" if len(known) > 4 else "")
