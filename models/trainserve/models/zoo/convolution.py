"""A 3x3 convolution that is trained as a matrix product where oneDNN's convolution is slow.

On the last 4x4 pixels of a ResNet, the weight gradient reaches 125 GFLOP/s on a core whose AMX units have 1,900. As
products of patches and weights such layers take 0.4 to 0.7 of the time (torch 2.13, one thread of a
Xeon with AMX, bf16, 64 images, forward and backward, ms: convolution, product):

    512 to 512 channels, 4x4 pixels       65.0  23.8        256 to 256, 8x8                  18.3  34.5
    256 to 512, 8x8 to 4x4 (stride 2)     34.1  17.8        512 to 512, 7x7                  81.5  76.2
    256 to 256, 4x4                       10.4   7.1        without AMX: 512 to 512, 4x4      121   142
"""

from __future__ import annotations

from functools import cache

import torch
from torch import Tensor, nn

_FEW = 16
"""Most output pixels for which the product is faster."""


class Convolution(nn.Conv2d):
    """A faster `nn.Conv2d`, 3x3 with padding 1 and without bias."""

    def __init__(self, channels: int, width: int, stride: int = 1) -> None:
        super().__init__(channels, width, 3, stride, padding=1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, channels, H, W) to (N, width, H / stride, W / stride), rounded up."""
        if self.training and _product_is_faster(x, self.stride[0]):
            return product(x, self.weight, self.stride[0])
        return super().forward(x)


def product(x: Tensor, weight: Tensor, stride: int) -> Tensor:
    """The convolution of `x` (N, C, H, W) with `weight` (K, C, 3, 3), padding 1, in channels_last."""
    padded = nn.functional.pad(x.permute(0, 2, 3, 1), (0, 0, 1, 1, 1, 1))
    height, width = (_strided(size, stride) for size in x.shape[2:])
    rows, columns = stride * (height - 1) + 1, stride * (width - 1) + 1
    shifted = [padded[:, i : i + rows : stride, j : j + columns : stride] for i in range(3) for j in range(3)]
    patches = torch.cat(shifted, dim=-1).flatten(0, 2)
    outputs = patches @ weight.permute(2, 3, 1, 0).flatten(0, 2)
    return outputs.view(len(x), height, width, len(weight)).permute(0, 3, 1, 2)


def _product_is_faster(x: Tensor, stride: int) -> bool:
    """Whether to use the product, by device and shape, never by a measurement: one config gives the same weights."""
    pixels = _strided(x.shape[2], stride) * _strided(x.shape[3], stride)
    return pixels <= _FEW and x.device.type == "cpu" and x.dtype == torch.bfloat16 and _has_amx()


def _strided(size: int, stride: int) -> int:
    return (size - 1) // stride + 1


@cache
def _has_amx() -> bool:
    return bool(torch.cpu.get_capabilities().get("amx_bf16"))
