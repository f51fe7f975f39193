"""StyleGAN2 generator with skip connections (Karras et al. 2020), for any size and channel plan.

It knows nothing of any inversion paper: what is done to the features at the hook or to the RGB skip comes from outside.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from collections.abc import Mapping as MappingOf
from dataclasses import dataclass
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hfgi_app.networks.ops import EqualLinear, blur, scaled_leaky_relu, upsample
from hfgi_app.types import Latents

TensorMap = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class GeneratorConfig:
    """Sizes of one generator.

    channels: feature channels at 4, 8, 16, ... up to the picture's size.
    hook: resolution whose up-convolution ends `begin`.
    clamp: largest magnitude that a layer gives; no limit where None.
    """

    channels: tuple[int, ...]
    dim: int = 512
    hook: int = 64
    mapping_layers: int = 8
    noise: bool = True
    clamp: float | None = None

    @property
    def size(self) -> int:
        """Side of the generated picture in pixels."""
        return int(4 * 2 ** (len(self.channels) - 1))

    @property
    def rows(self) -> int:
        """Number of code rows L in W+ (18 at 1024 px, 12 at 128 px)."""
        return 2 * len(self.channels)


@dataclass(frozen=True, eq=False)
class Styles:
    """Style vectors N x channels: one per convolution and one per to-RGB layer."""

    convs: tuple[Tensor, ...]
    rgbs: tuple[Tensor, ...]


@dataclass(frozen=True, eq=False)
class Partial:
    """A generator stopped at its hook: features N x C x hook x hook, RGB skip N x 3 x hook/2 x hook/2."""

    features: Tensor
    image: Tensor


class ModulatedConv2d(nn.Module):
    """Convolution modulated by a style (StyleGAN2, section 2.2).

    Scaling the activations by the style and the result by the demodulation factor equals scaling the weights,
    and lets a batch share one convolution. For a single picture the weights are scaled where they are fewer.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int,
        dim: int,
        *,
        up: bool = False,
        demodulate: bool = True,
    ) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(out_channels, in_channels, kernel_size, kernel_size))
        self.affine = EqualLinear(dim, in_channels, bias_init=1.0)
        self.gain = 1 / math.sqrt(in_channels * kernel_size**2)
        self.padding = kernel_size // 2
        self.up = up
        self.demodulate = demodulate

    def forward(self, x: Tensor, style: Tensor) -> Tensor:
        """x: N x in x H x W, style: N x in (the affine's output)."""
        style = style * self.gain
        factor = self._demodulation(style) if self.demodulate else None
        if style.shape[0] == 1 and x.numel() > self.weight.numel():
            weight = self.weight * style[0][:, None, None]
            return self._convolve(x, weight if factor is None else weight * factor[0][:, None, None, None])
        x = self._convolve(x * style[:, :, None, None].to(x.dtype), self.weight)
        return x if factor is None else x * factor[:, :, None, None].to(x.dtype)

    def _demodulation(self, style: Tensor) -> Tensor:
        # Not a matrix product: it stays in the style's precision when the convolutions run in a lower one.
        power = (style.square()[:, None] * self.weight.square().sum((2, 3))).sum(2)
        return torch.rsqrt(power + 1e-8)

    def _convolve(self, x: Tensor, weight: Tensor) -> Tensor:
        if self.up:
            return blur(F.conv_transpose2d(x, weight.transpose(0, 1), stride=2), pad=1, gain=4.0)
        return F.conv2d(x, weight, padding=self.padding)


class SynthesisLayer(nn.Module):
    """Modulated 3 x 3 convolution, fixed noise where the model has it, bias, activation, limit."""

    def __init__(self, config: GeneratorConfig, in_channels: int, out_channels: int, size: int, *, up: bool) -> None:
        super().__init__()
        self.conv = ModulatedConv2d(in_channels, out_channels, 3, config.dim, up=up)
        self.bias = nn.Parameter(torch.zeros(out_channels))
        self.noise_strength = nn.Parameter(torch.zeros(())) if config.noise else None
        self.noise: Tensor | None
        self.register_buffer("noise", torch.randn(1, 1, size, size) if config.noise else None)
        self.clamp = config.clamp

    def forward(self, x: Tensor, style: Tensor) -> Tensor:
        x = self.conv(x, style)
        if self.noise is not None and self.noise_strength is not None:
            x += self.noise_strength * self.noise
        x += self.bias[:, None, None].to(x.dtype)
        return _limited(scaled_leaky_relu(x), self.clamp)


class ToRGB(nn.Module):
    """Features to RGB, added to the up-sampled picture of the block before."""

    def __init__(self, config: GeneratorConfig, in_channels: int) -> None:
        super().__init__()
        self.conv = ModulatedConv2d(in_channels, 3, 1, config.dim, demodulate=False)
        self.bias = nn.Parameter(torch.zeros(3))
        self.clamp = config.clamp

    def forward(self, x: Tensor, style: Tensor, image: Tensor | None) -> Tensor:
        # The sum over blocks stays in the bias' precision when the convolutions run in a lower one.
        rgb = _limited(self.conv(x, style).to(self.bias.dtype) + self.bias[:, None, None], self.clamp)
        if image is None:
            return rgb
        with torch.autocast(x.device.type, enabled=False):
            return rgb + upsample(image)


class Mapping(nn.Module):
    """z -> w: N x D -> N x D."""

    def __init__(self, dim: int, layers: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(EqualLinear(dim, dim, lr_mul=0.01) for _ in range(layers))

    def forward(self, z: Tensor) -> Tensor:
        x = z * torch.rsqrt(z.square().mean(1, keepdim=True) + 1e-8)
        for layer in self.layers:
            x = scaled_leaky_relu(layer(x))
        return x


class Generator(nn.Module):
    """z -> w -> styles -> picture N x 3 x R x R, nominally in [-1, 1] but not clamped."""

    def __init__(self, config: GeneratorConfig) -> None:
        super().__init__()
        self.config = config
        channels = config.channels
        self.hook_block = int(math.log2(config.hook)) - 2
        if not 1 <= self.hook_block < len(channels):
            raise ValueError(f"hook {config.hook} is not a resolution of a {config.size} px generator above 4")
        self.mapping = Mapping(config.dim, config.mapping_layers)
        self.const = nn.Parameter(torch.randn(1, channels[0], 4, 4))
        self.layers = nn.ModuleList([SynthesisLayer(config, channels[0], channels[0], 4, up=False)])
        self.to_rgbs = nn.ModuleList([ToRGB(config, channels[0])])
        for block in range(1, len(channels)):
            before, after, size = channels[block - 1], channels[block], 4 * 2**block
            self.layers.append(SynthesisLayer(config, before, after, size, up=True))
            self.layers.append(SynthesisLayer(config, after, after, size, up=False))
            self.to_rgbs.append(ToRGB(config, after))

    def styles(self, latents: Latents) -> Styles:
        """All affine layers, plus style-space offsets. A to-RGB layer shares its row with the next up-convolution."""
        rows = latents.w.unbind(1)
        affines = [cast(SynthesisLayer, layer).conv.affine for layer in self.layers]
        rgb_affines = [cast(ToRGB, layer).conv.affine for layer in self.to_rgbs]
        convs = [affine(rows[index]) for index, affine in enumerate(affines)]
        rgbs = [affine(rows[2 * block + 1]) for block, affine in enumerate(rgb_affines)]
        for index, offset in latents.styles:
            convs[index] = convs[index] + offset
        return Styles(tuple(convs), tuple(rgbs))

    def begin(self, styles: Styles) -> Partial:
        """Everything up to and including the up-convolution at the hook."""
        x = self.const.expand(styles.convs[0].shape[0], -1, -1, -1)
        x = self.layers[0](x, styles.convs[0])
        image: Tensor = self.to_rgbs[0](x, styles.rgbs[0], None)
        for block in range(1, self.hook_block):
            x, image = self._block(block, x, image, styles)
        index = 2 * self.hook_block - 1
        return Partial(self.layers[index](x, styles.convs[index]), image)

    def finish(
        self,
        partial: Partial,
        styles: Styles,
        *,
        features: TensorMap | None = None,
        bands: MappingOf[int, TensorMap] | None = None,
        stop_at: int | None = None,
    ) -> Tensor:
        """From the hook to the picture.

        features: applied to the features at the hook (HFGI: F * (1 + scale) + shift).
        bands: {resolution: map} applied to the RGB skip right after that resolution was added.
        stop_at: give the RGB skip at this resolution instead of the full size.
        """
        x = partial.features if features is None else features(partial.features)
        image, bands = partial.image, bands or {}
        for block in range(self.hook_block, len(self.config.channels)):
            if block == self.hook_block:
                x, image = self._second_half(block, x, image, styles)
            else:
                x, image = self._block(block, x, image, styles)
            size = 4 * 2**block
            if size in bands:
                image = bands[size](image)
            if size == stop_at:
                break
        return image

    def picture(self, latents: Latents, *, stop_at: int | None = None) -> Tensor:
        """All of it; stop_at as in `finish`."""
        styles = self.styles(latents)
        return self.finish(self.begin(styles), styles, stop_at=stop_at)

    def forward(self, w: Tensor) -> Tensor:
        """Codes N x L x D -> picture."""
        return self.picture(Latents(w))

    def _block(self, block: int, x: Tensor, image: Tensor, styles: Styles) -> tuple[Tensor, Tensor]:
        index = 2 * block - 1
        return self._second_half(block, self.layers[index](x, styles.convs[index]), image, styles)

    def _second_half(self, block: int, x: Tensor, image: Tensor, styles: Styles) -> tuple[Tensor, Tensor]:
        x = self.layers[2 * block](x, styles.convs[2 * block])
        return x, self.to_rgbs[block](x, styles.rgbs[block], image)


def _limited(x: Tensor, clamp: float | None) -> Tensor:
    return x if clamp is None else x.clamp(-clamp, clamp)
