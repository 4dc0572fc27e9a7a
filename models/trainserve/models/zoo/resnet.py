"""`resnet18`, `resnet34`, `resnet50` (He et al., arXiv:1512.03385), and `resnet9`, shaped like the fast CIFAR nets.

Modules are named as in torchvision, so that its and timm's state dicts fit. resnet50 has its stride in the 3x3
convolution, as torchvision and NVIDIA's "v1.5". The last norm of every block starts with gamma 0, so that the block
starts as the identity (Goyal et al., arXiv:1706.02677).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from trainserve.api.catalogue import ResNet9Options, ResNetOptions
from trainserve.models.errors import DataError
from trainserve.models.zoo.convolution import Convolution

SMALL = 64
"""Largest longer side of images, in pixels, for which `stem: auto` means `cifar`."""


class BasicBlock(nn.Module):
    """Two 3x3 convolutions with a shortcut."""

    expansion = 1

    def __init__(self, channels: int, width: int, stride: int) -> None:
        super().__init__()
        self.conv1 = Convolution(channels, width, stride)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = Convolution(width, width)
        self.bn2 = nn.BatchNorm2d(width)
        self.downsample = _shortcut(channels, width * self.expansion, stride)
        nn.init.zeros_(self.bn2.weight)

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, channels, H, W) to (N, width, H / stride, W / stride), rounded up."""
        y = torch.relu(self.bn1(self.conv1(x)))
        return torch.relu(self.bn2(self.conv2(y)) + self.downsample(x))


class Bottleneck(nn.Module):
    """1x1 to reduce, 3x3, 1x1 to expand to four times the width, with a shortcut."""

    expansion = 4

    def __init__(self, channels: int, width: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, width, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = Convolution(width, width, stride)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = nn.Conv2d(width, width * self.expansion, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(width * self.expansion)
        self.downsample = _shortcut(channels, width * self.expansion, stride)
        nn.init.zeros_(self.bn3.weight)

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, channels, H, W) to (N, 4 width, H / stride, W / stride), rounded up."""
        y = torch.relu(self.bn1(self.conv1(x)))
        y = torch.relu(self.bn2(self.conv2(y)))
        return torch.relu(self.bn3(self.conv3(y)) + self.downsample(x))


def _shortcut(channels: int, wider: int, stride: int) -> nn.Module:
    """The identity if a block keeps size and width, else a 1x1 convolution with the same change."""
    if stride == 1 and channels == wider:
        return nn.Identity()
    return nn.Sequential(nn.Conv2d(channels, wider, 1, stride, bias=False), nn.BatchNorm2d(wider))


Block = type[BasicBlock] | type[Bottleneck]
LAYOUTS: dict[str, tuple[Block, tuple[int, int, int, int]]] = {
    "resnet18": (BasicBlock, (2, 2, 2, 2)),
    "resnet34": (BasicBlock, (3, 4, 6, 3)),
    "resnet50": (Bottleneck, (3, 4, 6, 3)),
}
"""Block type and number of blocks in each of the four stages."""


class ResNet(nn.Module):
    """Stem, four stages of 64, 128, 256, 512 channels (times the block's expansion), global mean, dense layer."""

    def __init__(self, block: Block, blocks: tuple[int, int, int, int], stem: str, channels: int, outputs: int) -> None:
        super().__init__()
        if stem == "imagenet":
            self.conv1 = nn.Conv2d(channels, 64, 7, stride=2, padding=3, bias=False)
            self.maxpool: nn.Module = nn.MaxPool2d(3, stride=2, padding=1)
        else:
            self.conv1 = Convolution(channels, 64)
            self.maxpool = nn.Identity()
        self.bn1 = nn.BatchNorm2d(64)
        self.layer1 = _stage(block, 64, 64, blocks[0], stride=1)
        self.layer2 = _stage(block, 64 * block.expansion, 128, blocks[1], stride=2)
        self.layer3 = _stage(block, 128 * block.expansion, 256, blocks[2], stride=2)
        self.layer4 = _stage(block, 256 * block.expansion, 512, blocks[3], stride=2)
        self.fc = nn.Linear(512 * block.expansion, outputs)
        _initialise_convolutions(self)

    def forward(self, images: Tensor) -> Tensor:
        """(N, C, H, W) float32 to (N, outputs)."""
        x = self.maxpool(torch.relu(self.bn1(self.conv1(images))))
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        outputs: Tensor = self.fc(nn.functional.adaptive_avg_pool2d(x, 1).flatten(1))
        return outputs


def _stage(block: Block, channels: int, width: int, count: int, stride: int) -> nn.Sequential:
    first = block(channels, width, stride)
    return nn.Sequential(first, *(block(width * block.expansion, width, 1) for _ in range(count - 1)))


def build(name: str, options: ResNetOptions, shape: tuple[int, int, int], outputs: int) -> nn.Module:
    """Build resnet18, 34 or 50 for images of `shape` (H, W, C), in channels_last."""
    stem = options.stem
    if stem == "auto":
        stem = "cifar" if max(shape[:2]) <= SMALL else "imagenet"
    return _channels_last(ResNet(*LAYOUTS[name], stem, shape[2], outputs))


class ResNet9(nn.Module):
    """Eight convolutions, of which three halve the image, two shortcuts, a global max and a dense layer.

    After David Page, "How to train your ResNet" (2018), from which nets with CIFAR-10 speed records descend. Pooling is
    before the norm, as in airbench: a quarter of the values to normalise.
    """

    def __init__(self, width: int, channels: int, outputs: int) -> None:
        super().__init__()
        self.stem = _convolution(channels, width)
        self.layer1 = _convolution(width, 2 * width, pool=True)
        self.residual1 = nn.Sequential(_convolution(2 * width, 2 * width), _convolution(2 * width, 2 * width))
        self.layer2 = _convolution(2 * width, 4 * width, pool=True)
        self.layer3 = _convolution(4 * width, 8 * width, pool=True)
        self.residual3 = nn.Sequential(_convolution(8 * width, 8 * width), _convolution(8 * width, 8 * width))
        self.fc = nn.Linear(8 * width, outputs)
        _initialise_convolutions(self)

    def forward(self, images: Tensor) -> Tensor:
        """(N, C, H, W) float32 to (N, outputs)."""
        x = self.layer1(self.stem(images))
        x = self.layer2(x + self.residual1(x))
        x = self.layer3(x)
        x = x + self.residual3(x)
        # Scaled by 1/8, as in Page's net: the maximum of 512 channels would otherwise start with extreme logits.
        outputs: Tensor = self.fc(nn.functional.adaptive_max_pool2d(x, 1).flatten(1)) / 8
        return outputs


def _convolution(channels: int, width: int, pool: bool = False) -> nn.Sequential:
    halve: list[nn.Module] = [nn.MaxPool2d(2)] if pool else []
    return nn.Sequential(Convolution(channels, width), *halve, nn.BatchNorm2d(width), nn.ReLU())


def build_nine(options: ResNet9Options, shape: tuple[int, int, int], outputs: int) -> nn.Module:
    """Build resnet9 for images of `shape` (H, W, C), in channels_last. Raises DataError if smaller than 8x8."""
    if min(shape[:2]) < 8:
        raise DataError(f"images of {shape[0]}x{shape[1]} are too small for resnet9; at least 8x8 is needed")
    return _channels_last(ResNet9(options.width, shape[2], outputs))


def _initialise_convolutions(network: nn.Module) -> None:
    """Initialise as He et al., arXiv:1502.01852, with fan_out, as torchvision."""
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")


def _channels_last(network: nn.Module) -> nn.Module:
    return network.to(memory_format=torch.channels_last)  # type: ignore[call-overload,no-any-return]
