"""The small text-image model, its captions and training, CLIP's wrapping, and the relevance matrix."""

from __future__ import annotations

import random
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tiny
import torch
import torch.nn.functional as F
from torch import Tensor

import hfgi_app.models
from hfgi_app import weights
from hfgi_app.cli import main
from hfgi_app.directions.styleclip import StyleCLIP, calibrate
from hfgi_app.directions.styleclip.words import TEMPLATES, Clip, SmallWords, split, tokens
from hfgi_app.errors import RecipeError, WeightsError
from hfgi_app.models import Models
from hfgi_app.networks.stylegan2 import Generator, Styles
from hfgi_app.networks.words import TextImage, WordsConfig
from hfgi_app.train import captions, data, relevance, words
from hfgi_app.train.loop import load
from hfgi_app.types import Latents

GLUE = {word for template in TEMPLATES for word in split(template.format("with"))}
CONFIG = WordsConfig(("face", "glasses", "old", "smiling", *sorted(GLUE)), 32, (4, 6, 8), 8, 1, 20, 8)


def small(seed: int = 0, config: WordsConfig = CONFIG) -> SmallWords:
    torch.manual_seed(seed)
    return SmallWords(TextImage(config))


# --- phrases ---------------------------------------------------------------------------------------------------------


def test_there_are_79_different_templates_with_one_gap_each() -> None:
    assert len(TEMPLATES) == len(set(TEMPLATES)) == 79
    assert all(template.count("{}") == 1 for template in TEMPLATES)


@pytest.mark.parametrize(
    ("phrase", "wanted"),
    [
        ("A smiling Face", ["smiling", "face"]),
        ("grey-haired man, with glasses!", ["grey", "haired", "man", "with", "glasses"]),
        ("blas\u00e9 \u0418\u0432\u0430\u043d 20", ["blase", "\u0438\u0432\u0430\u043d", "20"]),
        ("the a an ...", []),
    ],
)
def test_phrases_fall_into_words(phrase: str, wanted: list[str]) -> None:
    assert split(phrase) == wanted


def test_tokens_count_from_one_and_are_filled_and_cut() -> None:
    found = tokens(["face", "old face with glasses", "face " * 50], CONFIG)
    assert found.shape == (3, CONFIG.length)
    assert found[0].tolist() == [1] + [0] * 19
    assert found[1, :4].tolist() == [3, 1, 5 + sorted(GLUE).index("with"), 2]
    assert found[2].all()


# --- the model -------------------------------------------------------------------------------------------------------


def test_both_towers_give_unit_vectors_that_company_does_not_change() -> None:
    network = small().network
    pictures = torch.rand(3, 3, 32, 32) * 2 - 1
    seen = network.image(pictures)
    torch.testing.assert_close(seen.norm(dim=1), torch.ones(3))
    torch.testing.assert_close(network.image(pictures[1:2]), seen[1:2])
    read = network.text(tokens(["old face", "old face with glasses"], CONFIG))
    torch.testing.assert_close(read.norm(dim=1), torch.ones(2))
    torch.testing.assert_close(network.text(tokens(["old face"], CONFIG)), read[:1])


def test_word_order_counts() -> None:
    network = small().network
    one, two = network.text(tokens(["old face with glasses", "face with old glasses"], CONFIG))
    assert float((one - two).norm()) > 1e-4


def test_the_mean_over_templates_is_read(monkeypatch) -> None:
    model = small()
    monkeypatch.setattr("hfgi_app.directions.styleclip.words.TEMPLATES", ("{}", "photo of the {}"))
    lines = model.network.text(tokens(["old face", "photo of old face"], CONFIG))
    torch.testing.assert_close(model.text("an old face"), F.normalize(lines.mean(0), dim=0))


@pytest.mark.parametrize("phrase", ["old wizard", "\u7b11\u9854", "old 20", "the", "x" * 200])
def test_unknown_words_are_named_with_the_known_ones(phrase: str) -> None:
    with pytest.raises(RecipeError, match=r"does not know: .*; it knows face, glasses, old, smiling\.$") as caught:
        small().text(phrase)
    assert len(str(caught.value)) < 200


def test_pictures_of_any_size_and_values_are_read() -> None:
    model = small()
    large = F.interpolate(torch.rand(1, 3, 32, 32) * 2 - 1, scale_factor=2, mode="nearest")
    torch.testing.assert_close(model.image(large), model.image(large[:, :, ::2, ::2]))
    assert torch.equal(model.image(torch.full((1, 3, 32, 32), 9.0)), model.image(torch.ones(1, 3, 32, 32)))


def test_it_is_built_from_its_file(tmp_path: Path) -> None:
    model = small()
    config = {**vars(CONFIG), "vocabulary": list(CONFIG.vocabulary), "widths": list(CONFIG.widths)}
    again = SmallWords.build(model.network.state_dict(), config)
    assert torch.equal(again.text("old face"), model.text("old face"))
    with pytest.raises(WeightsError, match="words' weights do not fit"):
        SmallWords.build(model.network.state_dict(), {**config, "dim": 9})


def test_the_model_that_is_trained_here_is_small() -> None:
    config = WordsConfig(words.vocabulary(captions.TRAITS))
    assert sum(parameter.numel() for parameter in TextImage(config).parameters()) < 1.1e6


def test_what_may_change_unasked_is_said_in_words_that_captions_have() -> None:
    known = set(words.vocabulary(captions.TRAITS))
    for phrases in calibrate.PROBES.values():
        for phrase in phrases:
            assert set(split(phrase)) <= known


# --- CLIP ------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def clip() -> Clip:
    """CLIP's classes, tiny and random, with a tokenizer of whole words."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import CLIPConfig, CLIPModel

    small = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    torch.manual_seed(0)
    sizes = CLIPConfig(text_config=dict(small), vision_config=dict(small), projection_dim=8)
    said = sorted({word for line in TEMPLATES for word in line.format("old smiling face").split()})
    ends = {"<|startoftext|>": 49406, "<|endoftext|>": 49407}
    tokenizer = Tokenizer(models.WordLevel({word: index for index, word in enumerate(said)} | ends, "a"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        "<|startoftext|> $A <|endoftext|>", special_tokens=list(ends.items())
    )
    tokenizer.enable_padding(pad_id=49407, pad_token="<|endoftext|>")
    model = Clip()
    model.__dict__.update(_model=CLIPModel(sizes).eval(), _tokenizer=tokenizer)
    return model


def test_clip_reads_phrases_and_pictures_as_its_own_code_does(clip: Clip) -> None:
    from transformers import CLIPImageProcessor

    picture = tiny.photo(96, 96)
    shown = torch.from_numpy(picture).permute(2, 0, 1)[None].float() / 127.5 - 1
    ready = CLIPImageProcessor(do_center_crop=False, size={"height": 224, "width": 224})(picture, return_tensors="pt")
    with torch.no_grad():
        features = clip._model.get_image_features(**ready).pooler_output
    torch.testing.assert_close(clip.image(shown), F.normalize(features), atol=2e-2, rtol=0)
    vectors = []
    for template in TEMPLATES:
        ids = torch.tensor([clip._tokenizer.encode(template.format("old face")).ids])
        with torch.no_grad():
            vectors.append(F.normalize(clip._model.get_text_features(input_ids=ids).pooler_output)[0])
    torch.testing.assert_close(clip.text("old face"), F.normalize(torch.stack(vectors).mean(0), dim=0))
    assert float((clip.text("old face") - clip.text("smiling face")).norm()) > 1e-4


def test_clip_reads_english_only(clip: Clip) -> None:
    with pytest.raises(RecipeError, match="reads English"):
        clip.text("\u0441\u0442\u0430\u0440\u043e\u0435 \u043b\u0438\u0446\u043e")


def test_the_published_sizes_are_the_librarys_defaults() -> None:
    from transformers import CLIPConfig

    config = CLIPConfig()
    text, vision = config.text_config, config.vision_config
    assert (config.projection_dim, vision.image_size, vision.patch_size) == (512, 224, 32)
    assert (text.hidden_size, text.num_hidden_layers, text.vocab_size) == (512, 12, 49408)
    assert (vision.hidden_size, vision.num_hidden_layers, text.hidden_act) == (768, 12, "quick_gelu")


# --- captions --------------------------------------------------------------------------------------------------------


LABELS = {
    "smile": torch.tensor([1.0, -1.0, 0.0, torch.nan]),
    "yaw": torch.tensor([10.0, -10.0, 0.0, 3.0]),
    "gender": torch.tensor([0.0, 1.0, 1.0, torch.nan]),
    "facial_hair": torch.tensor([torch.nan, 1.0, 0.0, torch.nan]),
}


@pytest.mark.parametrize(
    ("name", "wanted"),
    [
        ("smiling", [1, 0, None, None]),
        ("serious", [0, 1, None, None]),
        ("turned right", [1, 0, 0, None]),
        ("turned left", [0, 1, 0, 0]),
        ("woman", [1, 0, 0, None]),
        ("beard", [0, 1, 0, None]),
        ("no beard", [1, 0, 1, None]),
    ],
)
def test_labels_say_what_holds(name: str, wanted: list[int | None]) -> None:
    trait = next(trait for trait in captions.TRAITS if trait.name == name)
    found = [None if np.isnan(value) else int(value) for value in trait.truth(LABELS).tolist()]
    assert found == wanted


def test_a_caption_holds_where_all_its_parts_do() -> None:
    truth = torch.tensor([[1.0, 1.0, 0.0], [1.0, torch.nan, 0.0], [torch.nan, 0.0, 1.0]])
    members = torch.tensor([[1.0, 1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 0.0]])
    wanted = torch.tensor([[1.0, 1.0, 1.0], [torch.nan, 1.0, 1.0], [0.0, torch.nan, 1.0]])
    torch.testing.assert_close(captions.conjunction(truth, members), wanted, equal_nan=True)


def test_phrases_name_every_part_in_known_words() -> None:
    draw, known = random.Random(0), set(words.vocabulary(captions.TRAITS))
    for _ in range(300):
        chosen = draw.sample(captions.TRAITS, draw.randint(0, 4))
        phrase = captions.phrase(chosen, draw)
        assert set(split(phrase)) <= known, phrase
        for trait in chosen:
            if not trait.nouns:
                assert any(said in phrase for said in (*trait.adjectives, *trait.additions))


def test_opposites_exist_and_traits_need_pictures_on_both_sides() -> None:
    names = {trait.name for trait in captions.TRAITS}
    assert {trait.opposite for trait in captions.TRAITS} <= names | {""}
    assert captions.present(LABELS) == ()
    many = {"smile": torch.linspace(-2, 2, 100), "yaw": torch.zeros(100)}
    assert [trait.name for trait in captions.present(many)] == ["smiling", "serious"]


# --- training --------------------------------------------------------------------------------------------------------


def pack(count: int = 120) -> data.Pack:
    """Pictures whose upper half is as light as the background label, the lower as red as the smile."""
    rng = torch.Generator().manual_seed(0)
    light, smile = torch.rand(2, count, generator=rng)
    pictures = torch.randint(90, 120, (count, 3, 32, 32), generator=rng, dtype=torch.uint8)
    pictures[:, :, :16] += (100 * light[:, None, None, None]).to(torch.uint8)
    pictures[:, 0, 16:] += (100 * smile[:, None, None]).to(torch.uint8)
    labels = {"bg_L": 40 + 40 * light, "smile": 4 * smile - 2}
    test = torch.arange(count) % 4 == 0
    return data.Pack(
        pictures, pictures[:, :1], torch.ones(count, dtype=torch.bool), test, tuple(map(str, range(count))), labels
    )


@pytest.mark.slow
def test_it_learns_words_resumes_and_is_shipped(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(words, "WordsConfig", lambda known, size: WordsConfig(known, size, (8, 12, 16), 16, 1, 40, 16))
    device = torch.device("cpu")
    plan = words.Plan(32, 1280, learning_rate=5e-3, half_life=100, save_every=640, phrase_steps=200)
    words.train(pack(), tmp_path, plan, device)
    words.train(pack(), tmp_path, replace(plan, pictures=4000, save_every=2000), device)
    state = load(tmp_path / "words.pt")
    assert state is not None
    assert state["seen"] == 4000
    log = [__import__("json").loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert [line["seen"] for line in log] == [640, 1280, 1280, 3280, 4000, 4000]
    assert min(log[-1][name] for name in ("smiling", "serious", "dark background", "light background")) > 90
    model = SmallWords.build(state["average"], state["config"])
    both = model.text("smiling face before a light background") - model.text("face")
    seen = model.image(pack().pictures[pack().test].float() / 127.5 - 1) @ both
    for label in pack().labels.values():
        assert np.corrcoef(seen.numpy(), label[pack().test].numpy())[0, 1] > 0.4


def test_phrases_come_to_say_what_their_words_add_up_to() -> None:
    """Of words that no picture shows together as of others; and what says one thing keeps saying it."""
    traits = captions.present(pack().labels)
    plan = words.Plan(32, phrase_steps=400, phrase_learning_rate=3e-3)
    config = WordsConfig(words.vocabulary(traits), 32, (4, 4, 4), 16, 1, 40, 16)
    learner = words.Learner(plan, config, traits, torch.device("cpu"))
    before = learner.averaged()
    learner.add_up()
    after = learner.averaged()
    assert learner.added_up

    def apart(model: SmallWords) -> float:
        plain, *alone = (before.text(f"face{said}") for said in ("", " with a smile", " with a dark background"))
        wanted = F.normalize(plain + sum(one - plain for one in alone), dim=0)
        return float((model.text("smiling face before a dark background") - wanted).norm())

    assert apart(after) < 0.5 * apart(before)
    assert float(after.text("smiling face") @ before.text("smiling face")) > 0.9


def test_training_needs_labels(tmp_path: Path) -> None:
    bare = replace(pack(), labels={})
    with pytest.raises(ValueError, match="no labels to make captions of"):
        words.train(bare, tmp_path, words.Plan(32), torch.device("cpu"))


# --- relevance -------------------------------------------------------------------------------------------------------


def generator() -> Generator:
    found = Generator(tiny.GENERATOR)
    found.load_state_dict(weights.part(tiny.tensors(), "generator"))
    return found.eval().requires_grad_(False)


def codes(count: int = 12) -> Tensor:
    return torch.randn(count, tiny.GENERATOR.rows, tiny.GENERATOR.dim, generator=torch.Generator().manual_seed(2))


class Eye:
    """A text model's picture tower: a fixed projection of the picture."""

    name, side = "small", 32

    def image(self, pictures: Tensor) -> Tensor:
        axes = torch.randn(3 * pictures.shape[-1] ** 2, 5, generator=torch.Generator().manual_seed(3))
        return F.normalize(pictures.clamp(-1, 1).flatten(1) @ axes, dim=1)


@pytest.fixture(autouse=True)
def full_precision(monkeypatch) -> None:
    monkeypatch.setattr(relevance, "low_precision", lambda device: torch.autocast("cpu", enabled=False))


def by_hand(layer: int, channel: int, faces: int) -> Tensor:
    """A row of the matrix from whole renders."""
    made, all_styles = generator(), generator().styles(Latents(codes()))
    some = made.styles(Latents(codes()[:faces]))
    seen = []
    for side in (1, -1):
        style = all_styles.convs[layer][:, channel]
        convs = [one.clone() for one in some.convs]
        convs[layer][:, channel] = style.mean() + side * 5 * style.std()
        styles = Styles(tuple(convs), some.rgbs)
        seen.append(Eye().image(made.finish(made.begin(styles), styles)))
    return F.normalize(F.normalize(seen[0] - seen[1], dim=1).mean(0), dim=0)


def test_the_matrix_is_that_of_whole_renders(tmp_path: Path) -> None:
    found = relevance.measure(generator(), codes(), Eye(), tmp_path / "part", faces=3)
    styles = generator().styles(Latents(codes())).convs
    widths = [style.shape[1] for style in styles]
    assert found["matrix"].shape == (sum(widths), 5)
    torch.testing.assert_close(found["deviations"], torch.cat([style.std(0) for style in styles]))
    for layer, channel in ((0, 0), (1, 7), (2, 3), (4, 1), (6, 2)):
        row = found["matrix"][sum(widths[:layer]) + channel]
        torch.testing.assert_close(row, by_hand(layer, channel, 3), atol=1e-4, rtol=1e-4)
    assert not (tmp_path / "part").exists()


def test_an_interrupted_measurement_goes_on(tmp_path: Path, monkeypatch) -> None:
    whole = relevance.measure(generator(), codes(), Eye(), tmp_path / "part", faces=2)["matrix"]
    measured_rows, measured = relevance._rows, []

    def stops(started, layer, *others):
        if layer == 4:
            raise KeyboardInterrupt
        return measured_rows(started, layer, *others)

    monkeypatch.setattr(relevance, "_rows", stops)
    with pytest.raises(KeyboardInterrupt):
        relevance.measure(generator(), codes(), Eye(), tmp_path / "part", faces=2)

    def counts(started, layer, *others):
        measured.append(layer)
        return measured_rows(started, layer, *others)

    monkeypatch.setattr(relevance, "_rows", counts)
    again = relevance.measure(generator(), codes(), Eye(), tmp_path / "part", faces=2)["matrix"]
    assert measured == [4, 5, 6]
    assert torch.equal(again, whole)


def test_what_the_text_model_does_not_see_is_not_rendered(tmp_path: Path) -> None:
    eye = Eye()
    eye.side = 16
    found = relevance.measure(generator(), codes(), eye, tmp_path / "part", faces=2)["matrix"]
    unseen = sum(tiny.GENERATOR.channels[2:])
    assert not found[-unseen:].any()
    assert found[:-unseen].any(1).all()


def test_the_command_makes_what_prompts_need(tmp_path: Path, monkeypatch, capsys) -> None:
    family = {"styleclip": StyleCLIP(None, small())}
    models = Models(tiny.INFO, tiny.tensors(), tiny.CONFIG, family, torch.device("cpu"))
    monkeypatch.setattr(hfgi_app.models, "load_models", lambda *args, **kwargs: models)
    monkeypatch.setattr(weights, "at_hand", lambda spec: None)
    assert main(["directions", "styleclip", "-o", str(tmp_path), "--faces", "2"]) == 0
    assert "small" in capsys.readouterr().out
    tensors, metadata = weights.load(tmp_path / "styleclip.safetensors")
    assert tensors["styleclip.matrix"].shape == (48, 8)
    assert '"words": "small"' in metadata["config"]
    bare = Models(tiny.INFO, tiny.tensors(), tiny.CONFIG, {}, torch.device("cpu"))
    monkeypatch.setattr(hfgi_app.models, "load_models", lambda *args, **kwargs: bare)
    assert main(["directions", "styleclip", "-o", str(tmp_path)]) == 1
    assert "There is no text model" in capsys.readouterr().err
