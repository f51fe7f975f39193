"""Published layouts: every name is known, every size is read off the tensors, and foreign files are told so."""

from __future__ import annotations

import argparse
import json
import re

import pytest
import torch
from parity import fill

from hfgi_app import layouts, weights
from hfgi_app.errors import WeightsError
from hfgi_app.networks.e4e import E4EEncoder, EncoderConfig
from hfgi_app.networks.hfgi import ConsultationEncoder, DistortionAlignment
from hfgi_app.networks.stylegan2 import Generator, GeneratorConfig
from hfgi_app.networks.styleres import ResidualEncoder, ResidualTransform

NETWORKS = {
    "generator": lambda fields: Generator(GeneratorConfig(**fields)),
    "encoder": lambda fields: E4EEncoder(EncoderConfig(**fields)),
    "alignment": lambda fields: DistortionAlignment(**fields),
    "consultation": lambda fields: ConsultationEncoder(**fields),
    "residual_encoder": lambda fields: ResidualEncoder(**fields),
    "residual_transform": lambda fields: ResidualTransform(**fields),
}
CARS_LACK = re.compile(r"encoder\.styles\.1[67]\.|decoder\.(convs\.1[45]|to_rgbs\.7|noises\.noise_1[56])[.]?")


def published(*, cars: bool = False, parts: tuple[str, ...] = ("encoder", "decoder", "residue", "grid_align")) -> dict:
    """A checkpoint of full size that takes no memory: one zero, seen as every tensor. 512 px and 16 rows for cars."""
    state = {}
    for name, (shape, _) in fill.keys().items():
        if name.split(".")[0] in parts and not (cars and CARS_LACK.match(name)):
            zero = torch.zeros((), dtype=torch.long if name.endswith("tracked") else torch.float32)
            state[name] = torch.from_numpy(fill.values(name, shape)) if name.endswith("kernel") else zero.expand(shape)
    return {"state_dict": state, "latent_avg": torch.zeros(16 if cars else 18, 512), "opts": {"dataset_type": "x"}}


def published_styleres() -> dict:
    """A StyleRes checkpoint of full size that takes no memory."""
    state = {}
    for name, (shape, _) in fill.keys("styleres").items():
        zero = torch.zeros((), dtype=torch.long if name.endswith("tracked") else torch.float32)
        state[name] = torch.from_numpy(fill.values(name, shape)) if name.endswith("filter") else zero.expand(shape)
    parts = {name: weights.part(state, name) for name in ("e4e", "generator_smooth")}
    return {**parts, "latent_avg": state["latent_avg"]}


def built(tensors: dict, metadata: dict) -> dict[str, torch.nn.Module]:
    """The networks the metadata describes, strictly loaded."""
    modules = {}
    for name, fields in json.loads(metadata["config"]).items():
        with torch.device("meta"):
            modules[name] = NETWORKS[name](fields)
        weights.load_strict(modules[name], weights.part(tensors, name), f"the {name} weights")
    return modules


def test_hfgi_fills_every_parameter() -> None:
    tensors, metadata = layouts.translate(published())
    assert metadata["layout"] == "hfgi"
    config = json.loads(metadata["config"])
    assert config["generator"]["channels"] == [512, 512, 512, 512, 512, 256, 128, 64, 32]
    assert (config["generator"]["hook"], config["generator"]["mapping_layers"]) == (64, 8)
    expected = EncoderConfig(18, 512, 256, (64, 64, 128, 256, 512), 512)
    assert (
        EncoderConfig(
            **config["encoder"] | {name: tuple(config["encoder"][name]) for name in ("widths", "units", "strides")}
        )
        == expected
    )
    assert config["alignment"] == {"widths": [16, 32, 48, 64]}
    assert config["consultation"] == {"features": 512, "widths": [32, 48, 64], "head_width": 512}
    modules = built(tensors, metadata)
    assert modules.keys() == {"generator", "encoder", "alignment", "consultation"}
    assert not any(tensor.is_meta for module in modules.values() for tensor in module.state_dict().values())
    assert sum(len(module.state_dict()) for module in modules.values()) == len(tensors)


def test_styleres_fills_every_parameter() -> None:
    checkpoint = published_styleres()
    tensors, metadata = layouts.translate(checkpoint)
    assert metadata["layout"] == layouts.detect(checkpoint) == "styleres"
    config = json.loads(metadata["config"])
    assert config["generator"] == json.loads(layouts.translate(published())[1]["config"])["generator"] | {"clamp": 256}
    assert config["residual_encoder"] == {"encoder_features": 128, "features": 512, "width": 512}
    assert config["residual_transform"] == {"features": 512, "residual": 512, "width": 512}
    modules = built(tensors, metadata)
    assert modules.keys() == {"generator", "encoder", "residual_encoder", "residual_transform"}
    assert sum(len(module.state_dict()) for module in modules.values()) == len(tensors)
    unused = len(checkpoint["e4e"]) + len(checkpoint["generator_smooth"]) + 1 - len(tensors)
    assert unused == 26 + 8 + 1  # filters, a decoder stage that is never run, the mapping's average


def test_the_smaller_layout_of_cars() -> None:
    tensors, metadata = layouts.translate(published(cars=True))
    modules = built(tensors, metadata)
    generator, encoder = modules["generator"], modules["encoder"]
    assert isinstance(generator, Generator)
    assert isinstance(encoder, E4EEncoder)
    assert (generator.config.size, generator.config.rows, encoder.config.rows) == (512, 16, 16)


def test_e4e_has_two_networks() -> None:
    checkpoint = published(parts=("encoder", "decoder"))
    tensors, metadata = layouts.translate(checkpoint)
    assert metadata["layout"] == layouts.detect(checkpoint) == "e4e"
    assert built(tensors, metadata).keys() == {"generator", "encoder"}


def test_each_tensor_arrives_where_its_name_says() -> None:
    """A few names whose numbers shift between the layouts; parity proves them all."""
    ours = {
        "decoder.style.1.weight": "generator.mapping.layers.0.weight",
        "decoder.conv1.noise.weight": "generator.layers.0.noise_strength",
        "decoder.convs.15.conv.modulation.bias": "generator.layers.16.conv.affine.bias",
        "decoder.noises.noise_16": "generator.layers.16.noise",
        "decoder.to_rgb1.bias": "generator.to_rgbs.0.bias",
        "decoder.to_rgbs.7.conv.weight": "generator.to_rgbs.8.conv.weight",
        "encoder.body.6.res_layer.5.fc1.weight": "encoder.stages.1.3.res_layer.5.fc1.weight",
        "encoder.body.21.shortcut_layer.0.weight": "encoder.stages.3.0.shortcut_layer.0.weight",
        "encoder.latlayer1.weight": "encoder.lateral2.weight",
        "encoder.styles.17.linear.bias": "encoder.heads.17.linear.bias",
        "residue.conv_layer3.2.res_layer.4.weight": "consultation.stages.1.2.res_layer.4.weight",
        "residue.condition_shift3.2.bias": "consultation.shift.2.bias",
        "grid_align.conv_layer4.0.res_layer.1.weight": "alignment.down.2.0.res_layer.1.weight",
        "grid_align.dconv_layer1.2.res_layer.4.bias": "alignment.up.0.2.res_layer.4.bias",
    }
    checkpoint = published()
    for number, name in enumerate(ours, 1):
        state = checkpoint["state_dict"]
        state[name] = torch.full_like(state[name], number)
    tensors, _ = layouts.translate(checkpoint)
    for number, name in enumerate(ours.values(), 1):
        assert (tensors[name] == number).all(), name
    assert sum(bool(tensor.float().mean() >= 1) for tensor in tensors.values()) == len(ours)


def test_each_tensor_of_styleres_arrives_where_its_name_says() -> None:
    block = "synthesis.b64.modify_feature_"
    ours = {
        "synthesis.b4.conv1.weight": "generator.layers.0.conv.weight",
        "synthesis.b1024.conv0.affine.bias": "generator.layers.15.conv.affine.bias",
        "synthesis.b1024.conv1.noise_const": "generator.layers.16.noise",
        "synthesis.b64.conv0.noise_strength": "generator.layers.7.noise_strength",
        "synthesis.b64.conv1.bias": "generator.layers.8.bias",
        "synthesis.b1024.torgb.weight": "generator.to_rgbs.8.conv.weight",
        "synthesis.b4.const": "generator.const",
        "mapping.fc7.weight": "generator.mapping.layers.7.weight",
        f"{block}alignment.conv3.1.res_layer.2.bias": "residual_encoder.down.2.1.res_layer.2.bias",
        f"{block}alignment.dconv2.0.res_layer.0.bias": "residual_encoder.up.1.0.res_layer.0.bias",
        f"{block}extraction.convs.2.res_layer.0.bias": "residual_encoder.extraction.1.2.res_layer.0.bias",
        f"{block}gates.down2.weight": "residual_transform.reduce_residual.weight",
        f"{block}gates.convs.1.res_layer.0.bias": "residual_transform.change.1.res_layer.0.bias",
        f"{block}gates.convs2.2.shortcut_layer.0.weight": "residual_transform.gate.2.shortcut_layer.0.weight",
    }
    checkpoint = published_styleres()
    state = checkpoint["generator_smooth"]
    for number, name in enumerate(ours, 1):
        state[name] = torch.full_like(state[name], number)
    tensors, _ = layouts.translate(checkpoint)
    for number, name in enumerate(ours.values(), 1):
        assert (tensors[name] == number).all(), name
    assert sum(bool(tensor.float().mean() >= 1) for tensor in tensors.values()) == len(ours)


@pytest.mark.parametrize("shape", [(18, 512), (1, 512), (512,)])
def test_the_average_code_in_any_published_shape(shape: tuple[int, ...]) -> None:
    checkpoint = published(parts=("encoder", "decoder"))
    checkpoint["latent_avg"] = torch.rand(shape)
    tensors, _ = layouts.translate(checkpoint)
    assert tensors["encoder.latent_avg"].shape == (18, 512)
    assert torch.equal(tensors["encoder.latent_avg"], checkpoint["latent_avg"].expand(18, 512))


@pytest.mark.parametrize(
    ("content", "found"),
    [
        ([1, 2], "list"),
        (torch.zeros(3), "Tensor"),
        ({"g_ema": {}, "latent_avg": torch.zeros(512)}, "g_ema, latent_avg"),
        ({"state_dict": {"fc.weight": torch.zeros(3)}}, "fc"),
        ({"state_dict": [1]}, "state_dict"),
        ({"e4e": {}, "generator_smooth": {}}, "e4e, generator_smooth"),
        ({}, "nothing"),
    ],
)
def test_a_foreign_file_is_told_what_was_expected_and_found(content: object, found: str) -> None:
    with pytest.raises(WeightsError, match=rf"(?s){found}.*expected an HFGI checkpoint.*or an e4e checkpoint"):
        layouts.detect(content)


def test_a_checkpoint_without_its_average_code_is_refused() -> None:
    checkpoint = published()
    del checkpoint["latent_avg"]
    with pytest.raises(WeightsError, match="latent_avg"):
        layouts.translate(checkpoint)


@pytest.mark.parametrize(
    "options",
    [{"encoder_type": "GradualStyleEncoder"}, argparse.Namespace(encoder_type="GradualStyleEncoder")],
)
def test_a_psp_file_is_refused_though_its_names_and_shapes_are_the_same(options: object) -> None:
    checkpoint = published(parts=("encoder", "decoder"))
    checkpoint["opts"] = options
    with pytest.raises(WeightsError, match="GradualStyleEncoder"):
        layouts.translate(checkpoint)


@pytest.mark.parametrize(
    ("name", "tensor", "sentence"),
    [
        ("encoder.extra.weight", torch.zeros(1), r"encoder has parameters .* extra\.weight"),
        ("decoder.convs.0.conv.blur.kernel", torch.ones(4, 4), "filter"),
        ("decoder.input.input", torch.zeros(1, 100_000, 0, 0), "size of 100000"),
        ("decoder.input.input", 3, "decoder.input.input is a int"),
        ("latent_avg", torch.zeros(18, 3), "latent_avg has 54 values"),
        ("encoder.input_layer.0.weight", None, "lacks the parameter input_layer.0.weight"),
        ("grid_align.conv_layer4.0.res_layer.1.weight", None, "lacks the parameter conv_layer4"),
    ],
)
def test_what_does_not_belong_is_named(name: str, tensor: object, sentence: str) -> None:
    checkpoint = published()
    place = checkpoint if name == "latent_avg" else checkpoint["state_dict"]
    if tensor is None:
        del place[name]
    else:
        place[name] = tensor
    with pytest.raises(WeightsError, match=sentence):
        layouts.translate(checkpoint)


@pytest.mark.parametrize(
    ("name", "tensor", "sentence"),
    [
        ("synthesis.b6.torgb.bias", torch.zeros(3), r"size of 10; expected 5 to 9"),
        ("synthesis.b8.skip.weight", torch.zeros(3), r"generator_smooth has parameters .* synthesis\.b8\.skip"),
        ("synthesis.b8.conv1.resample_filter", torch.ones(4, 4), r"b8\.conv1\.resample_filter is not the filter"),
        ("synthesis.b64.modify_feature_gates.up.bias", torch.zeros(3), r"gates has parameters .* up\.bias"),
        ("synthesis.b64.modify_feature_alignment.first_layer.weight", torch.zeros(8, 512, 1, 1), "size of 0"),
        ("synthesis.b4.const", torch.zeros(()), r"generator weights .* const as 1, not 1 x 512 x 4 x 4"),
        ("synthesis.b64.modify_feature_gates.down1.bias", None, r"residual_transform weights .* reduce_features\.bias"),
    ],
)
def test_what_does_not_belong_to_styleres_is_named(name: str, tensor: object, sentence: str) -> None:
    checkpoint = published_styleres()
    if tensor is None:
        del checkpoint["generator_smooth"][name]
    else:
        checkpoint["generator_smooth"][name] = tensor
    with pytest.raises(WeightsError, match=sentence):
        built(*layouts.translate(checkpoint))


@pytest.mark.parametrize(
    ("name", "tensor", "sentence"),
    [
        ("decoder.convs.3.activate.bias", None, r"The generator weights do not fit .* lack layers\.4\.bias\."),
        (
            "encoder.body.5.res_layer.3.weight",
            torch.zeros(2, 2),
            r"stages\.1\.2\.res_layer\.3\.weight as 2 x 2, not 128 x",
        ),
        ("residue.conv_layer3.3.res_layer.0.bias", torch.zeros(64), r"consultation weights .* unknown stages\.1\.3"),
    ],
)
def test_a_checkpoint_that_is_incomplete_or_too_large_does_not_load(name: str, tensor: object, sentence: str) -> None:
    checkpoint = published()
    if tensor is None:
        del checkpoint["state_dict"][name]
    else:
        checkpoint["state_dict"][name] = tensor
    tensors, metadata = layouts.translate(checkpoint)
    with pytest.raises(WeightsError, match=sentence):
        built(tensors, metadata)
