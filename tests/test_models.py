"""Models: what is loaded, what is refused and how, and what a photo becomes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import tiny
import torch

import hfgi_app.models
from hfgi_app import images, weights
from hfgi_app.errors import HfgiError, RecipeError, WeightsError
from hfgi_app.models import CATALOGUE, Models, embedded_tensors, load_models, pick_device
from hfgi_app.session import EditSession
from hfgi_app.types import EditRecipe

FACTS = {"age": {"label": "Age", "low": -30, "high": 30, "step": 1, "unit": "years"}}
ASSETS = Path(__file__).parent.parent / "assets"


def save_embedded(folder: Path) -> None:
    """The tiny model as a weights folder has it: several files, matrices in half precision."""
    tensors = tiny.tensors()
    for file, names in {"base": ("generator", "encoder"), "hfgi": ("alignment", "consultation")}.items():
        own = {key: value for key, value in tensors.items() if key.split(".")[0] in names}
        half = {key: value.half() if value.dim() > 1 else value for key, value in own.items()}
        config = json.dumps({name: tiny.CONFIG[name] for name in names})
        weights.save(folder / f"{file}.safetensors", half, {"config": config})
    direction = {"interfacegan.age": torch.ones(tiny.GENERATOR.rows, tiny.GENERATOR.dim)}
    weights.save(folder / "directions.safetensors", direction, {"config": json.dumps({"interfacegan": FACTS})})


@pytest.fixture
def folder(tmp_path: Path, monkeypatch) -> Path:
    """An embedded `portrait` made of the tiny model."""
    monkeypatch.setattr(hfgi_app.models, "WEIGHTS", tmp_path)
    made = tmp_path / "portrait"
    made.mkdir()
    save_embedded(made)
    return made


# --- the embedded model ----------------------------------------------------------------------------------------------


def test_the_embedded_model_is_all_files_together(folder: Path) -> None:
    models = load_models("portrait")
    assert (models.name, models.size, models.encoder_size) == ("portrait", 32, 64)
    assert [method.name for method in models.methods()] == ["hfgi", "e4e", "pti"]
    slider = models.sliders()[0]
    assert (slider.name, slider.label, slider.high, slider.unit) == ("interfacegan/age", "Age", 30, "years")
    assert [group.name for group in models.groups()] == ["interfacegan", "sefa"]
    crop = images.to_tensor(tiny.photo(64, 64))
    torch.testing.assert_close(models.invert(crop).codes, tiny.models().invert(crop).codes, atol=0.02, rtol=0)


def test_half_precision_is_for_files_alone(folder: Path) -> None:
    tensors, config = embedded_tensors(folder)
    assert {tensor.dtype for tensor in tensors.values()} == {torch.float32, torch.int64}
    assert config.keys() == {"generator", "encoder", "alignment", "consultation", "interfacegan"}


def test_a_method_without_weights_is_not_offered(folder: Path) -> None:
    (folder / "hfgi.safetensors").unlink()
    (folder / "directions.safetensors").unlink()
    models = load_models()
    assert [method.name for method in models.methods()] == ["e4e", "pti"]
    assert {slider.family for slider in models.sliders()} == {"sefa"}
    session = EditSession(models)
    session.open(tiny.photo(32, 32), aligned=True)
    assert session.raw(EditRecipe(method="e4e")).shape == (32, 32, 3)
    with pytest.raises(RecipeError, match=r"no method 'hfgi'; it has e4e, pti\.$"):
        session.render(EditRecipe())


def test_missing_weights_are_told(folder: Path) -> None:
    (folder / "base.safetensors").unlink()
    with pytest.raises(WeightsError, match=r"^The embedded weights are missing; .*\.$"):
        load_models()


def test_damaged_weights_are_told(folder: Path) -> None:
    path = folder / "base.safetensors"
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(WeightsError, match=r"^base\.safetensors .*damaged\.$"):
        load_models()


def test_a_file_that_describes_nothing_is_told(folder: Path) -> None:
    weights.save(folder / "more.safetensors", {"one": torch.ones(1)}, {})
    with pytest.raises(WeightsError, match=r"^more\.safetensors does not describe"):
        load_models()


def test_weights_of_another_size_are_told(folder: Path) -> None:
    tensors, metadata = weights.load(folder / "base.safetensors")
    tensors["generator.const"] = torch.zeros(1, 9, 4, 4)
    weights.save(folder / "base.safetensors", tensors, metadata)
    with pytest.raises(WeightsError, match=r"^The generator weights do not fit .*const"):
        load_models()


# --- other models ----------------------------------------------------------------------------------------------------


def test_a_published_checkpoint_decides_the_model(tmp_path: Path) -> None:
    tiny.save_e4e(tmp_path / "e4e.pt")
    torch.save(torch.randn(1, 8), tmp_path / "age.pt")
    models = load_models("portrait", checkpoint=tmp_path / "e4e.pt", directions=tmp_path)
    assert (models.name, models.size, models.encoder_size) == ("ffhq-1024", 1024, 256)
    assert [method.name for method in models.methods()] == ["e4e", "pti"]
    assert [slider.name for slider in models.sliders() if slider.family != "sefa"] == ["interfacegan/age"]
    session = EditSession(models)
    session.open(tiny.photo(256, 256), aligned=True)
    before, after = (session.raw(EditRecipe((("interfacegan/age", years),), method="e4e")) for years in (0.0, 2.0))
    assert before.shape == (1024, 1024, 3)
    assert (before != after).any()


def test_the_published_model_by_name_is_the_fetched_e4e_file(tmp_path: Path, monkeypatch) -> None:
    tiny.save_e4e(tmp_path / "e4e.pt")
    asked = []
    monkeypatch.setattr(weights, "fetch", lambda wanted: asked.append(wanted.name) or tmp_path / "e4e.pt")
    assert load_models("ffhq-1024").size == 1024
    assert asked == ["e4e-ffhq"]


@pytest.mark.parametrize(
    ("name", "options", "sentence"),
    [
        ("mona-lisa", {}, "There is no model 'mona-lisa'; there are portrait, ffhq-1024."),
        ("portrait", {"directions": ASSETS}, "The directions folder holds none of age.pt, smile.pt, pose.pt, ffhq_pca"),
        ("portrait", {"checkpoint": Path("none.pt")}, "none.pt is no file"),
        ("portrait", {"checkpoint": Path(__file__)}, "test_models.py is no readable PyTorch checkpoint"),
    ],
)
def test_what_cannot_be_loaded_gets_a_sentence(name: str, options: dict, sentence: str) -> None:
    with pytest.raises(WeightsError) as caught:
        load_models(name, **options)
    assert str(caught.value).startswith(sentence)


def test_devices() -> None:
    assert pick_device("cpu") == torch.device("cpu")
    assert pick_device("auto").type in ("cpu", "cuda")
    for name in ("gpu9", "meta", ""):
        with pytest.raises(HfgiError, match=r"use auto or cpu\.$"):
            pick_device(name)


def test_the_catalogue_tells_names_apart() -> None:
    assert len({info.name for info in CATALOGUE}) == len(CATALOGUE)
    assert all(info.label and info.note.endswith(".") for info in CATALOGUE)


# --- what a model does -----------------------------------------------------------------------------------------------


def test_an_inversion_holds_everything_of_a_photo(models: Models) -> None:
    crop = images.to_tensor(tiny.photo(64, 64))
    inversion = models.invert(crop)
    assert torch.equal(inversion.source, crop)
    assert inversion.codes.shape == (1, tiny.GENERATOR.rows, tiny.GENERATOR.dim)
    assert inversion.encoder_features.shape == (1, 4, 16, 16)
    assert inversion.generator_features.shape == (1, 6, 16, 16)
    assert torch.equal(inversion.coarse, models.generator(inversion.codes))
    shown = images.resize(inversion.coarse.clamp(-1, 1), 64)
    assert torch.equal(inversion.distortion, crop - shown)
    assert not any(tensor.requires_grad for tensor in vars(inversion).values())


def test_nothing_is_written_to_a_model_by_using_it() -> None:
    models = tiny.models()
    modules = (models.generator, models.encoder, models.refiners["hfgi"].alignment)
    before = [{name: value.clone() for name, value in module.state_dict().items()} for module in modules]
    session = EditSession(models)
    session.open(tiny.photo(64, 64), aligned=True)
    for slider in models.sliders():
        session.render(EditRecipe(((slider.name, slider.high),)))
    for module, state in zip(modules, before, strict=True):
        assert not module.training
        assert not any(parameter.requires_grad for parameter in module.parameters())
        assert all(torch.equal(value, state[name]) for name, value in module.state_dict().items())


def test_sliders_and_methods_by_name(models: Models) -> None:
    names = [slider.name for slider in models.sliders()]
    assert len(set(names)) == len(names)
    family, name = models.family("ganspace/lip")
    assert (family, name) == (models.families["ganspace"], "lip")
    for unknown in ("interfacegan/wings", "age", "ganspace/", "nothing/age"):
        with pytest.raises(RecipeError, match=r"^This model has no slider"):
            models.family(unknown)
    with pytest.raises(RecipeError, match=r"no method 'magic'; it has hfgi, .*e4e, pti\.$"):
        models.refiner("magic")


# --- the real weights ------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def portrait() -> Models:
    return load_models("portrait")


@pytest.mark.weights
def test_the_embedded_model_has_methods_and_sliders(portrait: Models) -> None:
    methods = [method.name for method in portrait.methods()]
    assert methods == ["hfgi", "styleres", "reganie", "wagi", "restyle", "e4e", "pti"]
    named = {"age", "smile", "pose", "pitch", "mouth", "eyes", "glasses", "hair"}
    assert {f"interfacegan/{name}" for name in named} <= {slider.name for slider in portrait.sliders()}
    assert portrait.follows_prompts


@pytest.mark.weights
@pytest.mark.parametrize("name", ["man", "woman", "glasses"])
def test_every_slider_changes_a_real_photo_and_zero_is_the_photo(name: str, portrait: Models) -> None:
    photo = images.read(ASSETS / f"{name}.jpg")
    session = EditSession(portrait)
    session.open(photo)
    assert (session.render(EditRecipe()) == photo).all()
    for slider in portrait.sliders():
        first, second = (
            session.render(EditRecipe(((slider.name, steps * slider.step),))).astype(int) for steps in (1, 2)
        )
        assert abs(first - photo).mean() <= 1.2 * abs(second - first).mean(), f"{slider.name} jumps at its first step"
        assert abs(first - photo).max() <= 12, f"{slider.name} jumps at its first step"
        for end in (slider.low, slider.high):
            change = session.render(EditRecipe(((slider.name, end),))).astype(int) - photo
            assert abs(change).max() > 10, f"{slider.name} does nothing at {end:g}"
