"""The house and its rooms: imports point down, rooms on one floor do not know each other, nothing happens on import."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "hfgi_app"
FILES = sorted(PACKAGE.rglob("*.py"))
FLOORS = {
    0: ("errors", "prompts", "types", "images"),
    1: ("networks", "pickles", "published"),
    2: ("weights", "layouts"),
    3: ("face", "composite", "directions", "refine"),
    4: ("models",),
    5: ("session",),
    6: ("ui", "evaluate", "video", "train"),
    7: ("cli",),
    8: ("__main__",),
}
"""A room is a file, or a folder with all its files. The command line starts what the floor below offers."""
FLOOR = {room: floor for floor, rooms in FLOORS.items() for room in rooms}
WITHIN_FLOOR_0 = {
    ("prompts", "errors"),
    ("types", "errors"),
    ("types", "prompts"),
    ("images", "errors"),
    ("images", "types"),
}
HEAVY = ("mediapipe", "gradio", "cv2", "sklearn", "skimage", "transformers", "tokenizers", "huggingface_hub")
BELONGS = {
    "gradio": {"ui"},
    "starlette": {"ui"},
    "mediapipe": {"face"},
    "cv2": {"face", "composite", "evaluate"},
    "argparse": {"cli", "evaluate", "train", "pickles"},
    "huggingface_hub": {"weights"},
    "transformers": {"directions"},
    "tokenizers": {"directions"},
    "PIL": {"images", "face", "evaluate", "train", "ui"},
}
"""What only some rooms may know of."""


def room(path: Path) -> str:
    return path.relative_to(PACKAGE).with_suffix("").parts[0]


def name(path: Path) -> str:
    return str(path.relative_to(PACKAGE))


def imported(path: Path) -> set[str]:
    """Dotted names of all that a file imports, inside functions as well; names from the package as modules."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{name(path)} imports relatively"
            assert node.module
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def rooms(path: Path) -> set[str]:
    """The other rooms that a file imports from."""
    inside = {target.split(".")[1] for target in imported(path) if target.startswith("hfgi_app.")}
    return inside - {room(path)}


def test_every_file_has_a_floor() -> None:
    assert FILES
    assert {room(path) for path in FILES} - FLOOR.keys() <= {"__init__"}


@pytest.mark.parametrize("path", [path for path in FILES if room(path) != "__init__"], ids=name)
def test_imports_point_down(path: Path) -> None:
    for other in rooms(path):
        assert FLOOR[other] < FLOOR[room(path)] or (room(path), other) in WITHIN_FLOOR_0, f"it imports {other}"


def test_the_public_names_come_from_below_the_edge() -> None:
    assert rooms(PACKAGE / "__init__.py") <= {"errors", "types", "models", "session"}


@pytest.mark.parametrize("path", FILES, ids=name)
def test_libraries_are_known_where_they_belong(path: Path) -> None:
    for target in imported(path):
        allowed = BELONGS.get(target.split(".")[0])
        assert allowed is None or room(path) in allowed, f"it imports {target}"


def test_networks_know_tensors_only() -> None:
    for path in (PACKAGE / "networks").glob("*.py"):
        modules = {target.split(".")[0] for target in imported(path)} - {"hfgi_app"}
        assert modules <= {"torch", "math", "dataclasses", "collections", "typing", "itertools", "__future__"}, (
            path.name
        )
        assert rooms(path) <= {"types"}, path.name


def test_refiners_know_nothing_of_each_other() -> None:
    for folder in ("refine", "directions"):
        for path in (PACKAGE / folder).glob("*.py"):
            own = {target.split(".")[2] for target in imported(path) if target.startswith(f"hfgi_app.{folder}.")}
            assert path.stem == "__init__" or own <= {"base"}, name(path)


@pytest.mark.parametrize("path", FILES, ids=name)
def test_files_are_short(path: Path) -> None:
    assert len(path.read_text("utf-8").splitlines()) <= 350


@pytest.mark.parametrize("path", FILES, ids=name)
def test_nothing_is_printed_outside_the_command_line(path: Path) -> None:
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        assert not (isinstance(node, ast.Name) and node.id == "print"), f"line {node.lineno}"
        written = isinstance(node, ast.Attribute) and node.attr in ("stdout", "stderr")
        assert not written or room(path) in ("cli", "face"), f"line {node.lineno}"  # face quiets MediaPipe's start


IMPORT = """
import sys, json

class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in HEAVY:
            raise ImportError(name + " is blocked")

HEAVY = {heavy}
sys.meta_path.insert(0, Blocked())
before = set(sys.modules)
import {modules}
from hfgi_app import EditRecipe, EditSession, Models, load_models
loaded = {{name.split(".")[0] for name in set(sys.modules) - before}}
print(json.dumps(sorted(loaded & set(HEAVY))))
"""


def test_the_package_imports_without_the_heavy_libraries() -> None:
    light = [path for path in FILES if room(path) not in ("ui", "__main__")]
    modules = [".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__") for path in light]
    code = IMPORT.format(heavy=HEAVY, modules=", ".join(modules))
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert json.loads(done.stdout) == []


def test_the_package_itself_loads_nothing() -> None:
    code = "import sys, hfgi_app.cli; print('hfgi_app.models' in sys.modules, 'hfgi_app.session' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "False"]
