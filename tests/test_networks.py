"""Networks of many sizes, tiny and random: shapes, hooks, and what must hold bit for bit."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from hfgi_app.networks.e4e import E4EEncoder, EncoderConfig
from hfgi_app.networks.hfgi import Consultation, ConsultationEncoder, DistortionAlignment
from hfgi_app.networks.ops import blur, upsample
from hfgi_app.networks.stylegan2 import Generator, GeneratorConfig, ModulatedConv2d
from hfgi_app.types import Latents

CONFIGS = (
    GeneratorConfig((8, 8), dim=6, hook=8, mapping_layers=1),
    GeneratorConfig((8, 6, 4), dim=6, hook=8, mapping_layers=2, noise=False),
    GeneratorConfig((8, 8, 8, 6, 4), dim=10, hook=64, mapping_layers=2),
    GeneratorConfig((8, 8, 8, 6, 6, 4), dim=8, hook=64, mapping_layers=2, noise=False),
    GeneratorConfig((8, 8, 8, 6, 6, 4), dim=8, hook=16, mapping_layers=2),
)
every_config = pytest.mark.parametrize("config", CONFIGS, ids=lambda config: f"{config.size}-hook-{config.hook}")


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


def generator(config: GeneratorConfig) -> Generator:
    """Random, with noise and biases that are not zero."""
    made = Generator(config)
    with torch.no_grad():
        for parameter in made.parameters():
            if parameter.dim() < 2:
                parameter.add_(0.1 * torch.randn_like(parameter))
    return made.eval().requires_grad_(False)


def codes(config: GeneratorConfig, count: int = 1) -> torch.Tensor:
    return torch.randn(count, config.rows, config.dim)


@every_config
def test_begin_and_finish_are_the_whole(config: GeneratorConfig) -> None:
    made, w = generator(config), codes(config)
    styles = made.styles(Latents(w))
    partial = made.begin(styles)
    assert partial.features.shape == (1, config.channels[made.hook_block], config.hook, config.hook)
    assert partial.image.shape == (1, 3, config.hook // 2, config.hook // 2)
    assert torch.equal(made.finish(partial, styles), made(w))
    assert made(w).shape == (1, 3, config.size, config.size)


@every_config
def test_a_batch_gives_what_each_code_gives(config: GeneratorConfig) -> None:
    made, w = generator(config), codes(config, 3)
    torch.testing.assert_close(made(w), torch.cat([made(row[None]) for row in w]), atol=1e-5, rtol=1e-5)


@every_config
def test_a_zero_offset_in_style_space_changes_no_bit(config: GeneratorConfig) -> None:
    made, w = generator(config), codes(config)
    widths = [layer.conv.affine.weight.shape[0] for layer in made.layers]
    styles = made.styles(Latents(w, tuple((index, torch.zeros(1, width)) for index, width in enumerate(widths))))
    assert torch.equal(made.finish(made.begin(styles), styles), made(w))


def test_an_offset_reaches_its_own_layer_only() -> None:
    config = CONFIGS[2]
    made, w = generator(config), codes(config)
    plain, moved = made.styles(Latents(w)), made.styles(Latents(w, ((3, torch.ones(1, 8)),)))
    assert torch.equal(moved.convs[3], plain.convs[3] + 1)
    assert all(torch.equal(moved.convs[i], plain.convs[i]) for i in range(len(plain.convs)) if i != 3)
    assert all(torch.equal(a, b) for a, b in zip(moved.rgbs, plain.rgbs, strict=True))


@every_config
def test_each_row_reaches_the_layers_it_should(config: GeneratorConfig) -> None:
    """Convolution i reads row i; the to-RGB layer of a block shares the row of the next up-convolution."""
    made, w = generator(config), codes(config)
    plain = made.styles(Latents(w))
    for row in range(config.rows):
        changed = w.clone()
        changed[:, row] += 1
        styles = made.styles(Latents(changed))
        convs = [i for i, style in enumerate(styles.convs) if not torch.equal(style, plain.convs[i])]
        rgbs = [i for i, style in enumerate(styles.rgbs) if not torch.equal(style, plain.rgbs[i])]
        assert convs == ([row] if row < len(plain.convs) else [])
        assert rgbs == ([row // 2] if row % 2 else [])


@every_config
def test_stop_at_gives_the_skip_of_that_size(config: GeneratorConfig) -> None:
    made, w = generator(config), codes(config)
    styles = made.styles(Latents(w))
    partial = made.begin(styles)
    seen = {}
    sizes = [4 * 2**block for block in range(made.hook_block, len(config.channels))]
    bands = {size: lambda skip: seen.setdefault(skip.shape[-1], skip) for size in sizes}
    whole = made.finish(partial, styles, bands=bands)
    assert sorted(seen) == sizes
    for size in sizes:
        assert torch.equal(made.finish(partial, styles, stop_at=size), seen[size])
    assert torch.equal(made.finish(partial, styles, stop_at=config.size), whole)


def test_features_act_at_the_hook_and_leave_the_partial_alone() -> None:
    config = CONFIGS[4]
    made, w = generator(config), codes(config)
    styles = made.styles(Latents(w))
    partial = made.begin(styles)
    before = partial.features.clone()
    plain = made.finish(partial, styles)
    shape = partial.features.shape
    same = made.finish(partial, styles, features=Consultation(torch.zeros(shape), torch.zeros(shape)))
    other = made.finish(partial, styles, features=Consultation(torch.ones(shape), torch.zeros(shape)))
    assert torch.equal(same, plain)
    assert (other - plain).abs().max() > 1e-3
    assert torch.equal(partial.features, before)


def test_bands_act_on_the_skip_at_their_size() -> None:
    config = CONFIGS[4]
    made, w = generator(config), codes(config)
    styles = made.styles(Latents(w))
    partial = made.begin(styles)
    plain = made.finish(partial, styles)
    lifted = made.finish(partial, styles, bands={config.size: lambda skip: skip + 1})
    torch.testing.assert_close(lifted, plain + 1)
    earlier = made.finish(partial, styles, bands={config.hook: lambda skip: skip + 1})
    middle = slice(8, -8)  # borders lose light to the zeros beyond them
    torch.testing.assert_close(earlier[..., middle, middle], plain[..., middle, middle] + 1, atol=1e-4, rtol=0)


@pytest.mark.parametrize("hook", [4, 64])
def test_a_hook_outside_the_generator_is_refused(hook: int) -> None:
    with pytest.raises(ValueError, match="hook"):
        Generator(GeneratorConfig((4, 4, 4, 4), dim=4, hook=hook))


@pytest.mark.parametrize(
    ("up", "demodulate", "size"), [(False, True, 3), (True, True, 3), (True, True, 16), (False, False, 16)]
)
def test_modulation_is_that_of_the_weights(up: bool, demodulate: bool, size: int) -> None:
    """StyleGAN2 equations 1 and 3, weights scaled for each picture."""
    conv = ModulatedConv2d(5, 7, 3, 4, up=up, demodulate=demodulate)
    x, style = torch.randn(2, 5, size, size), torch.randn(2, 5)
    rows = []
    for index in range(2):
        weight = conv.weight * conv.gain * style[index, None, :, None, None]
        if demodulate:
            weight = weight / (weight.square().sum((1, 2, 3), keepdim=True) + 1e-8).sqrt()
        one = x[index, None]
        if up:
            rows.append(blur(F.conv_transpose2d(one, weight.transpose(0, 1), stride=2), pad=1, gain=4.0))
        else:
            rows.append(F.conv2d(one, weight, padding=1))
    torch.testing.assert_close(conv(x, style), torch.cat(rows), atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(conv(x[:1], style[:1]), rows[0], atol=1e-5, rtol=1e-5)


def test_a_generator_can_be_differentiated_twice() -> None:
    """Path length regularisation needs it, for one picture as for several."""
    for count in (1, 2):
        made = Generator(CONFIGS[2])
        w = codes(CONFIGS[2], count).requires_grad_()
        (slope,) = torch.autograd.grad(made(w).square().sum(), w, create_graph=True)
        slope.square().sum().backward()
        assert all(layer.conv.weight.grad is not None for layer in made.layers)


def test_upsampling_keeps_a_flat_picture_and_doubles_its_size() -> None:
    flat = torch.full((1, 3, 6, 6), 0.5)
    torch.testing.assert_close(upsample(flat)[..., 2:-2, 2:-2], torch.full((1, 3, 8, 8), 0.5))
    torch.testing.assert_close(blur(flat, pad=2)[..., 2:-2, 2:-2], torch.full((1, 3, 3, 3), 0.5))


@pytest.mark.parametrize(
    ("size", "strides", "rows", "hook"),
    [(64, (1, 1, 2, 2), 10, 64), (128, (2, 1, 2, 2), 12, 64), (256, (2, 2, 2, 2), 18, 64)],
)
def test_encoder_shapes(size: int, strides: tuple[int, int, int, int], rows: int, hook: int) -> None:
    config = EncoderConfig(rows, 6, size, (4, 4, 6, 6, 8), 8, units=(1, 1, 1, 1), strides=strides)
    encoder = E4EEncoder(config).eval()
    encoder.latent_avg += 3
    with torch.no_grad():
        w, features = encoder(torch.randn(2, 3, size, size))
    assert w.shape == (2, rows, 6)
    assert features.shape == (2, 6, hook, hook)


def test_every_row_is_the_first_plus_its_offset() -> None:
    """e4e, section 4: with silent heads, all rows are the base code around the average."""
    encoder = E4EEncoder(EncoderConfig(9, 5, 64, (4, 4, 4, 4, 4), 4, (1, 1, 1, 1), (1, 1, 2, 2))).eval()
    with torch.no_grad():
        for head in list(encoder.heads)[1:]:
            head.linear.weight.zero_()
            head.linear.bias.zero_()
        encoder.latent_avg.normal_()
        w, _ = encoder(torch.randn(1, 3, 64, 64))
    base = w[0] - encoder.latent_avg
    assert base.std() > 0
    torch.testing.assert_close(base, base[:1].expand(9, -1), atol=1e-6, rtol=0)


@pytest.mark.parametrize("size", [64, 128, 256, 72])
def test_alignment_keeps_the_size_of_the_map(size: int) -> None:
    alignment = DistortionAlignment((4, 4, 6, 6)).eval()
    with torch.no_grad():
        aligned = alignment(torch.randn(1, 3, size, size), torch.randn(1, 3, size, size))
    assert aligned.shape == (1, 3, size, size)


@pytest.mark.parametrize(("size", "strides", "hook"), [(64, (1, 1), 64), (128, (2, 1), 64), (256, (2, 2), 64)])
@pytest.mark.parametrize("head_width", [None, 5])
def test_consultation_reaches_the_hook(size: int, strides: tuple[int, int], hook: int, head_width: int | None) -> None:
    consultation = ConsultationEncoder(10, (4, 4, 6), head_width, strides).eval()
    with torch.no_grad():
        scale, shift = consultation(torch.randn(1, 3, size, size))
    assert scale.shape == shift.shape == (1, 10, hook, hook)


def test_networks_can_be_built_without_memory() -> None:
    """On the meta device, as they are before weights are put in."""
    with torch.device("meta"):
        built: list[nn.Module] = [
            Generator(GeneratorConfig((512,) * 5 + (256, 128, 64, 32))),
            E4EEncoder(EncoderConfig(18, 512, 256, (64, 64, 128, 256, 512), 512)),
            DistortionAlignment(),
            ConsultationEncoder(512),
        ]
    assert all(tensor.is_meta for module in built for tensor in module.state_dict().values())
    counts = [sum(parameter.numel() for parameter in module.parameters()) / 1e6 for module in built]
    assert counts == pytest.approx([30.37, 267.1, 0.597, 5.65], rel=2e-3)
