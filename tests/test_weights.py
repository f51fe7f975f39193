"""Weights files: fetched and checked, read without running anything, converted once, loaded strictly."""

from __future__ import annotations

import argparse
import collections
import hashlib
import http.server
import io
import os
import pickle
import subprocess
import sys
import threading
import zipfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

from hfgi_app import pickles, weights
from hfgi_app.errors import WeightsError
from hfgi_app.weights import WeightSpec

CONTENT = os.urandom(12 << 20)
KEPT = 10 << 20
"""The Hub's client writes in steps of this size."""


class Hub(http.server.BaseHTTPRequestHandler):
    """As much of the Hub as a download needs. While `breaks` is set, one transfer ends early and others fail."""

    def _answer(self, *, body: bool) -> None:
        server = self.server
        assert isinstance(server, HubServer)
        server.asked.append((self.command, self.headers.get("Range")))
        if not self.path.endswith("/resolve/main/folder/net.pt"):
            return self.send_error(404)
        if server.breaks and len(server.asked) > 2:
            return self.send_error(500)
        first = int((self.headers.get("Range") or "bytes=0-").removeprefix("bytes=").split("-")[0])
        self.send_response(206 if first else 200)
        self.send_header("Content-Length", str(len(CONTENT) - first))
        self.send_header("Content-Range", f"bytes {first}-{len(CONTENT) - 1}/{len(CONTENT)}")
        self.send_header("ETag", f'"{hashlib.sha256(CONTENT).hexdigest()}"')
        self.send_header("X-Repo-Commit", "1" * 40)
        self.end_headers()
        if body:
            self.wfile.write(CONTENT[first : KEPT + 100 if server.breaks else len(CONTENT)])

    def do_HEAD(self) -> None:
        self._answer(body=False)

    def do_GET(self) -> None:
        self._answer(body=True)

    def log_message(self, *_: object) -> None:
        pass


class HubServer(http.server.ThreadingHTTPServer):
    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Hub)
        self.asked: list[tuple[str, str | None]] = []
        self.breaks = False


@pytest.fixture
def hub() -> Iterator[HubServer]:
    server = HubServer()
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


SPEC = WeightSpec(
    name="net",
    file="folder/net.pt",
    repo="some/where",
    source="https://example.org",
    sha256=hashlib.sha256(CONTENT).hexdigest(),
    size=len(CONTENT),
    licence="MIT",
    about="random bytes",
)
FETCH = """
import sys
from hfgi_app import errors, weights
spec = weights.WeightSpec(*sys.argv[1:5], sys.argv[5] or None, None, "MIT", "random bytes")
steps = []
try:
    print(weights.fetch(spec, lambda done, total: steps.append((done, total))))
    print(steps[-1] if steps else "no steps")
except errors.WeightsError as error:
    print("WeightsError", error)
"""


def fetched(hub: str, cache: Path, spec: WeightSpec = SPEC) -> list[str]:
    """Lines that a process of its own prints: the Hub's address and cache are read from its environment, once."""
    environment = {**os.environ, "HF_ENDPOINT": hub, "HF_HOME": str(cache), "HF_HUB_DISABLE_TELEMETRY": "1"}
    command = [sys.executable, "-c", FETCH, spec.name, spec.file, spec.repo or "", spec.source, spec.sha256 or ""]
    root = Path(__file__).parent.parent
    done = subprocess.run(command, env=environment, cwd=root, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def address(hub: HubServer) -> str:
    return f"http://127.0.0.1:{hub.server_port}"


@pytest.mark.slow
def test_fetch_downloads_once_and_reports_progress(hub: HubServer, tmp_path: Path) -> None:
    path, steps = fetched(address(hub), tmp_path)
    assert Path(path).read_bytes() == CONTENT
    assert steps == f"({len(CONTENT)}, {len(CONTENT)})"
    hub.asked.clear()
    again = fetched("http://127.0.0.1:9", tmp_path)
    assert again == [path, "no steps"]
    assert not hub.asked


@pytest.mark.slow
def test_an_interrupted_download_resumes_in_a_later_run(hub: HubServer, tmp_path: Path) -> None:
    hub.breaks = True
    (line,) = fetched(address(hub), tmp_path)
    assert line.startswith("WeightsError net could not be fetched")
    hub.breaks = False
    hub.asked.clear()
    path, steps = fetched(address(hub), tmp_path)
    assert Path(path).read_bytes() == CONTENT
    assert hub.asked == [("HEAD", None), ("GET", f"bytes={KEPT}-")]
    assert steps == f"({len(CONTENT)}, {len(CONTENT)})"


@pytest.mark.slow
def test_without_a_connection_there_is_one_sentence(tmp_path: Path) -> None:
    (line,) = fetched("http://127.0.0.1:9", tmp_path)
    assert line.startswith("WeightsError net could not be fetched from some/where; check the connection")


@pytest.mark.slow
def test_a_file_that_the_hub_does_not_have(hub: HubServer, tmp_path: Path) -> None:
    (line,) = fetched(address(hub), tmp_path, replace(SPEC, file="folder/other.pt"))
    assert line.startswith("WeightsError net could not be fetched")


@pytest.mark.slow
def test_a_wrong_file_is_removed_and_can_be_fetched_again(hub: HubServer, tmp_path: Path) -> None:
    (line,) = fetched(address(hub), tmp_path, replace(SPEC, sha256="0" * 64))
    assert line.startswith("WeightsError net.pt is not the published net or is damaged")
    assert not [path for path in tmp_path.rglob("*") if path.is_file() and path.stat().st_size == len(CONTENT)]
    assert len(fetched(address(hub), tmp_path)) == 2


def test_the_catalogue_is_sound() -> None:
    names = [spec.name for spec in weights.CATALOGUE]
    assert len(set(names)) == len(names)
    for spec in weights.CATALOGUE:
        assert weights.spec(spec.name) is spec
        assert spec.sha256 is None or len(bytes.fromhex(spec.sha256)) == 32
        unchecked = spec.name.startswith(("styleclip-", "mapper-"))  # no checksum is known: read as strangers' files
        assert spec.repo is None or unchecked or (spec.sha256 and spec.size), "what is fetched is checked"
    with pytest.raises(WeightsError, match="no weights named 'nothing'"):
        weights.spec("nothing")


@pytest.mark.parametrize("name", ["hfgi-ffhq", "age", "smile", "pose", "ffhq-pca"])
def test_what_has_no_mirror_says_where_to_get_it(name: str) -> None:
    with pytest.raises(WeightsError, match=r"no mirror to fetch from; get \w+\.pt from https://github\.com"):
        weights.fetch(weights.spec(name))


def test_verify_tells_a_wrong_file(tmp_path: Path) -> None:
    path = tmp_path / "net.pt"
    path.write_bytes(CONTENT)
    weights.verify(SPEC, path)
    path.write_bytes(CONTENT[:-1])
    with pytest.raises(WeightsError, match=r"net\.pt is not the published net"):
        weights.verify(SPEC, path)
    assert path.exists(), "a user's own file is never removed"


CHECKPOINT = {
    "state_dict": collections.OrderedDict(a=torch.arange(6.0).reshape(2, 3), b=torch.ones(2, dtype=torch.long)),
    "latent_avg": torch.zeros(1, 4).expand(3, 4),
    "opts": argparse.Namespace(dataset_type="ffhq_encode", lr=1e-4, ids=[1, 2], device=None),
}


@pytest.mark.parametrize("legacy", [False, True])
def test_a_checkpoint_is_read(tmp_path: Path, legacy: bool) -> None:
    path = tmp_path / "ckpt.pt"
    torch.save(CHECKPOINT, path, _use_new_zipfile_serialization=not legacy)
    content = weights.read_pickle(path)
    assert content["opts"] == CHECKPOINT["opts"]
    assert torch.equal(content["state_dict"]["a"], CHECKPOINT["state_dict"]["a"])
    assert content["state_dict"]["b"].dtype == torch.long
    assert content["latent_avg"].shape == (3, 4)


class Hostile:
    """Its pickle calls something when it is read."""

    def __init__(self, call: object, *arguments: object) -> None:
        self.call, self.arguments = call, arguments

    def __reduce__(self) -> tuple[object, tuple[object, ...]]:
        return self.call, self.arguments


@pytest.mark.parametrize("form", ["zip", "legacy", "plain", "newer"])
@pytest.mark.parametrize(
    ("call", "argument"),
    [
        (os.system, "touch {}"),
        (eval, "open('{}', 'w')"),
        (Path, "{}"),
        (bytearray, 1 << 40),
        (torch.FloatTensor, 1 << 40),
    ],
)
def test_a_hostile_file_is_refused_before_anything_runs(
    tmp_path: Path, form: str, call: object, argument: object
) -> None:
    """Also what merely takes memory is not called."""
    mark = tmp_path / "it-ran"
    bomb = Hostile(call, argument.format(mark) if isinstance(argument, str) else argument)
    path = tmp_path / "ckpt.pt"
    content = {"state_dict": {"a": torch.zeros(2)}, "opts": bomb}
    if form in ("zip", "legacy"):
        torch.save(content, path, _use_new_zipfile_serialization=form == "zip")
    else:
        path.write_bytes(pickle.dumps(bomb, protocol=2 if form == "plain" else 5))
    with pytest.raises(WeightsError, match=r"ckpt\.pt asks for .*, which no weights file needs; it was not opened\."):
        weights.read_pickle(path)
    assert not mark.exists()


def archive(path: Path, entries: dict[str, bytes], compression: int = zipfile.ZIP_STORED) -> None:
    with zipfile.ZipFile(path, "w", compression) as made:
        for name, data in entries.items():
            made.writestr(name, data)


def test_archives_that_torch_did_not_write(tmp_path: Path) -> None:
    harmless = pickle.dumps({}, protocol=2)
    path = tmp_path / "ckpt.pt"
    for entries, compression in (
        ({"a/data.pkl": harmless}, zipfile.ZIP_DEFLATED),
        ({"a/data.pkl": bytes(pickles.PICKLE_LIMIT + 1)}, zipfile.ZIP_STORED),
        ({"a/data.pkl": harmless, "b/data.pkl": harmless}, zipfile.ZIP_STORED),
        ({"word/document.xml": b"<x/>"}, zipfile.ZIP_STORED),
    ):
        archive(path, entries, compression)
        with pytest.raises(WeightsError, match="not one that torch"):
            weights.read_pickle(path)


def saved(content: object) -> bytes:
    stream = io.BytesIO()
    torch.save(content, stream)
    return stream.getvalue()


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"PK\3\4",
        b"hello, this is no checkpoint\n" * 10,
        b"\x89PNG\r\n\x1a\n" + bytes(100),
        bytes(10_000),
        (8).to_bytes(8, "little") + b'{"a":{}}',
        saved(CHECKPOINT)[:-200],
        saved(CHECKPOINT)[:300],
        pickle.dumps([1, 2, 3]),
        b"(" * 100_000 + b"]" * 100_000 + b".",
    ],
    ids=["empty", "zip-start", "text", "png", "zeros", "safetensors", "cut", "cut-early", "other-pickle", "nested"],
)
def test_a_foreign_or_damaged_file_gives_one_sentence(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "ckpt.pt"
    path.write_bytes(content)
    with pytest.raises(WeightsError) as caught:
        weights.read_pickle(path)
    assert str(caught.value).startswith(
        "ckpt.pt is no readable PyTorch checkpoint; expected a file that torch.save wrote"
    )
    assert str(tmp_path) not in str(caught.value)


def test_a_flipped_bit_is_noticed(tmp_path: Path) -> None:
    data = bytearray(saved({"a": torch.full((1000,), 7.0)}))
    data[data.index(torch.tensor(7.0).numpy().tobytes()) + 400] ^= 1
    path = tmp_path / "ckpt.pt"
    path.write_bytes(data)
    with pytest.raises(WeightsError, match="checksums"):
        weights.read_pickle(path)


def test_values_that_are_not_in_the_file_are_noticed(tmp_path: Path) -> None:
    path = tmp_path / "ckpt.pt"
    torch.save({"a": torch.zeros(1).expand(100_000, 100_000)}, path)
    with pytest.raises(WeightsError, match="claims more values than it holds"):
        weights.read_pickle(path)


def test_a_folder_a_missing_and_a_huge_file(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "missing.pt", tmp_path / ("x" * 300), Path("/dev/zero")):
        with pytest.raises(WeightsError, match="is no file"):
            weights.read_pickle(path)
    huge = tmp_path / "huge.pt"
    with huge.open("wb") as file:
        file.truncate(pickles.SIZE_LIMIT + 1)
    with pytest.raises(WeightsError, match="larger than 4 GB"):
        weights.read_pickle(huge)
    with huge.open("wb") as file:
        file.truncate(pickles.LEGACY_LIMIT + 1)
    with pytest.raises(WeightsError, match=r"before PyTorch 1\.6"):
        weights.read_pickle(huge)


def test_safetensors_round_trip(tmp_path: Path) -> None:
    tensors = {"a.weight": torch.randn(3, 2).T, "a.half": torch.ones(2).half(), "b.count": torch.tensor(3)}
    path = tmp_path / "net.safetensors"
    weights.save(path, tensors, {"config": "{}"})
    loaded, metadata = weights.load(path)
    assert metadata == {"config": "{}"}
    assert loaded.keys() == tensors.keys()
    assert all(torch.equal(loaded[name], tensors[name]) for name in tensors)
    assert weights.part(loaded, "a").keys() == {"weight", "half"}
    assert path.stat().st_mode & 0o777 == 0o644
    assert [entry.name for entry in tmp_path.iterdir()] == ["net.safetensors"]


def test_saving_replaces_the_file_whole_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "net.safetensors"
    weights.save(path, {"a": torch.zeros(2)}, {})
    before, (mapped, _) = path.read_bytes(), weights.load(path)
    with pytest.raises(TypeError):
        weights.save(path, {"a": torch.ones(3)}, {"number": 3})  # type: ignore[dict-item]
    assert path.read_bytes() == before
    weights.save(path, {"a": torch.ones(500)}, {})
    assert torch.equal(mapped["a"], torch.zeros(2)), "what was loaded stays as it was"
    assert [entry.name for entry in tmp_path.iterdir()] == ["net.safetensors"]


@pytest.mark.parametrize("content", [b"", b"no safetensors", (1 << 60).to_bytes(8, "little") + b"{}", None])
def test_a_damaged_safetensors_file_gives_one_sentence(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "net.safetensors"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(WeightsError, match=r"net\.safetensors is (missing|no readable safetensors file)"):
        weights.load(path)


class Translation:
    """Stands for a layout's; counts how often it was needed."""

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self, content: dict) -> tuple[dict, dict]:
        self.calls += 1
        return {"net.a": content["a"]}, {"layout": "test"}


def test_a_checkpoint_is_converted_once_and_again_when_it_changed(tmp_path: Path) -> None:
    source, beside, translate = tmp_path / "ckpt.pt", tmp_path / "ckpt.pt.safetensors", Translation()
    torch.save({"a": torch.zeros(4)}, source)
    for _ in range(2):
        tensors, metadata = weights.converted(source, translate)
        assert torch.equal(tensors["net.a"], torch.zeros(4))
        assert metadata == {"layout": "test", "source_sha256": weights.sha256(source)}
    assert translate.calls == 1
    torch.save({"a": torch.ones(4)}, source)
    assert torch.equal(weights.converted(source, translate)[0]["net.a"], torch.ones(4))
    assert translate.calls == 2
    beside.write_bytes(b"damaged")
    assert torch.equal(weights.converted(source, translate)[0]["net.a"], torch.ones(4))
    assert translate.calls == 3
    assert weights.load(beside)[1]["layout"] == "test"


def test_a_folder_that_cannot_be_written_keeps_the_result_in_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, translate = tmp_path / "ckpt.pt", Translation()
    torch.save({"a": torch.zeros(4)}, source)

    def refuse(*_: object) -> None:
        raise PermissionError("read-only")

    monkeypatch.setattr(weights, "save", refuse)
    tensors, metadata = weights.converted(source, translate)
    assert torch.equal(tensors["net.a"], torch.zeros(4))
    assert metadata["layout"] == "test"
    assert [entry.name for entry in tmp_path.iterdir()] == ["ckpt.pt"]


def test_saving_into_a_missing_folder_is_an_operating_system_error(tmp_path: Path) -> None:
    """Whatever the library calls it; `converted` relies on that."""
    with pytest.raises(OSError, match=r"\w"):
        weights.save(tmp_path / "missing" / "net.safetensors", {"a": torch.zeros(1)}, {})


def test_loading_is_strict_and_takes_the_modules_types() -> None:
    def module() -> nn.Module:
        return nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2))

    tensors = {name: torch.ones_like(tensor).half() for name, tensor in module().state_dict().items()}
    del tensors["1.num_batches_tracked"]
    with torch.device("meta"):
        empty = module()
    for target in (module(), empty):
        weights.load_strict(target, tensors, "the test weights")
        assert target[0].weight.dtype == torch.float32
        assert target[0].weight.requires_grad
        assert torch.equal(target.eval()(torch.ones(1, 3)), torch.full((1, 2), 1 + 3 / (1 + 1e-5) ** 0.5))
    faults = (
        ({"0.weight": torch.ones(2, 4)}, "have 0.weight as 2 x 4, not 2 x 3."),
        ({"9.weight": torch.ones(1)}, "have the unknown 9.weight."),
    )
    for change, sentence in faults:
        with pytest.raises(WeightsError) as caught:
            weights.load_strict(module(), tensors | change, "the test weights")
        assert str(caught.value) == f"The test weights do not fit their network: they {sentence}"
    with pytest.raises(WeightsError, match=r"they lack 0\.bias, 1\.bias, 1\.running_mean, 1\.running_var and 1 more\."):
        weights.load_strict(module(), {"0.weight": tensors["0.weight"]}, "the test weights")
