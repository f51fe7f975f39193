"""The Haar transform: exact both ways, an isometry, and each band sees what its name says."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from hfgi_app.networks.wavelets import haar, high_bands, inverse_haar


def picture(*shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0), dtype=dtype)


@pytest.mark.parametrize("shape", [(1, 3, 2, 2), (2, 3, 64, 64), (3, 5, 8, 20)])
def test_the_inverse_gives_the_picture_back(shape) -> None:
    one = picture(*shape, dtype=torch.float64)
    torch.testing.assert_close(inverse_haar(*haar(one)), one, rtol=0, atol=1e-15)
    coefficients = (
        picture(shape[0], shape[1], *(side // 2 for side in shape[2:])),
        picture(shape[0], 3 * shape[1], *(side // 2 for side in shape[2:])),
    )
    for given, found in zip(coefficients, haar(inverse_haar(*coefficients)), strict=True):
        torch.testing.assert_close(found, given, rtol=0, atol=1e-6)


def test_whole_numbers_come_back_bit_for_bit() -> None:
    """Sums of four are halved: nothing is rounded."""
    pixels = torch.randint(256, (2, 3, 32, 32), generator=torch.Generator().manual_seed(0)).float()
    assert torch.equal(inverse_haar(*haar(pixels)), pixels)


def test_squares_are_kept() -> None:
    one, other = picture(2, 3, 16, 16, dtype=torch.float64), picture(2, 3, 16, 16, dtype=torch.float64).flip(0)
    difference = [a - b for a, b in zip(haar(one), haar(other), strict=True)]
    torch.testing.assert_close(
        torch.stack([part.square().sum() for part in difference]).sum(), (one - other).square().sum()
    )


def test_the_taps_are_haars() -> None:
    a, b, c, d = 1.0, 2.0, 4.0, 8.0
    low, high = haar(torch.tensor([[[[a, b], [c, d]]]]))
    assert low.item() == (a + b + c + d) / 2
    assert high.flatten().tolist() == [(c + d - a - b) / 2, (b + d - a - c) / 2, (a + d - b - c) / 2]


def test_flat_pictures_have_no_high_bands_and_stripes_have_one() -> None:
    flat, across = torch.full((1, 1, 8, 8), 3.0), torch.tensor([-1.0, 1.0]).repeat(4).expand(1, 1, 8, 8)
    assert haar(flat)[1].abs().max() == 0
    low, high = haar(across)
    assert low.abs().max() == 0
    assert [float(band.abs().mean()) for band in high.unbind(1)] == [0, 2, 0]
    assert [float(band.abs().mean()) for band in haar(across.transpose(2, 3))[1].unbind(1)] == [2, 0, 0]


def test_bands_go_on_in_what_is_left() -> None:
    one = picture(1, 3, 16, 16)
    finest, coarser, coarsest = high_bands(one, 3)
    assert [band.shape for band in (finest, coarser, coarsest)] == [(1, 9, 8, 8), (1, 9, 4, 4), (1, 9, 2, 2)]
    assert torch.equal(coarser, haar(haar(one)[0])[1])
