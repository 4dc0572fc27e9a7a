"""A network of one's own for the training loop of TrainServe: a small convolutional net with a shortcut."""

import torch
from torch import nn


class Shortcut(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.inner = nn.Sequential(
            nn.Conv2d(width, width, 3, padding=1, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU(),
            nn.Conv2d(width, width, 3, padding=1, bias=False),
            nn.BatchNorm2d(width),
        )

    def forward(self, images):
        return torch.relu(images + self.inner(images))


def network(shape, outputs, width=32):
    """`shape` is (height, width, channels) of the images, `outputs` the number of classes; `width` is an option."""
    return nn.Sequential(
        nn.Conv2d(shape[2], width, 3, stride=2, padding=1),
        nn.ReLU(),
        Shortcut(width),
        nn.MaxPool2d(2),
        Shortcut(width),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(width, outputs),
    )
