"""The peer: how published long-tail code feeds and trains a CIFAR network, written anew to the recipe of LDAM-DRW.

PIL images one at a time in a DataLoader, float32 in NCHW, losses and accuracies read at every step, a test pass in batches of 100. Beside
it the tuned peer, which someone who knows torch makes of it in an hour: channels_last and torch.compile. The figures beside the one say
what the workbench gives; beside the other, what it adds to what torch gives anyone.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from cifar100 import CLASSES
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms

MEAN, STD = (0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010)


class Basic(nn.Module):
    """Two convolutions and an option-A shortcut."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.widens = stride != 1 or inputs != outputs
        self.quarter = outputs // 4

    def forward(self, x: Tensor) -> Tensor:
        """Run the block."""
        out = functional.relu(self.bn1(self.conv1(x)))
        out = self.bn2(self.conv2(out))
        beside = functional.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, self.quarter, self.quarter)) if self.widens else x
        return functional.relu(out + beside)


class ResNet32(nn.Module):
    """ResNet-32 for CIFAR, 0.47 M parameters with 100 classes."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 16, 3, 1, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(16)
        sizes = [(16, 16, 1)] + [(16, 16, 1)] * 4 + [(16, 32, 2)] + [(32, 32, 1)] * 4 + [(32, 64, 2)] + [(64, 64, 1)] * 4
        self.blocks = nn.Sequential(*(Basic(*size) for size in sizes))
        self.linear = nn.Linear(64, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        """Give logits."""
        x = self.blocks(functional.relu(self.bn1(self.conv1(x))))
        return self.linear(functional.avg_pool2d(x, x.shape[3]).flatten(1))


def optimiser(net: nn.Module) -> torch.optim.SGD:
    """Give the recipe's optimiser."""
    return torch.optim.SGD(net.parameters(), lr=0.1, momentum=0.9, weight_decay=2e-4)


class Pictures(Dataset):
    """PIL images and labels."""

    def __init__(self, pixels: NDArray[np.uint8], labels: NDArray[np.int64], transform: transforms.Compose) -> None:
        self.images = [Image.fromarray(image) for image in pixels]
        self.labels = labels.tolist()
        self.transform = transform

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, place: int) -> tuple[Tensor, int]:
        return self.transform(self.images[place]), self.labels[place]


class PadCropFlip:
    """The chain by Pillow's own functions, as fast as it goes one image at a time."""

    def __call__(self, image: Image.Image) -> Tensor:
        """Give (3, 32, 32) float32 in 0-1."""
        top, left, flip = np.random.randint(9), np.random.randint(9), np.random.random() < 0.5
        padded = Image.new("RGB", (40, 40))
        padded.paste(image, (4, 4))
        cut = padded.crop((left, top, left + 32, top + 32))
        cut = cut.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if flip else cut
        return torch.from_numpy(np.array(cut)).permute(2, 0, 1).contiguous().float().div(255)


NORMALISE = transforms.Normalize(MEAN, STD)
TRAIN = transforms.Compose([transforms.RandomCrop(32, padding=4), transforms.RandomHorizontalFlip(), transforms.ToTensor(), NORMALISE])
BY_PILLOW = transforms.Compose([PadCropFlip(), NORMALISE])
TEST = transforms.Compose([transforms.ToTensor(), NORMALISE])


def endless(
    pixels: NDArray[np.uint8], labels: NDArray[np.int64], workers: int, transform: transforms.Compose = TRAIN
) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield shuffled batches of 128, epoch after epoch."""
    loader = DataLoader(Pictures(pixels, labels, transform), 128, shuffle=True, num_workers=workers, persistent_workers=workers > 0)
    while True:
        yield from loader


class Files(Dataset):
    """Image files, brought to size as everyone's evaluation chain does."""

    chain = transforms.Compose(
        [
            transforms.Resize(256),
            transforms.CenterCrop(224),
            transforms.ToTensor(),
            transforms.Normalize((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
        ]
    )

    def __init__(self, paths: Sequence[Path]) -> None:
        self.paths = paths

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, place: int) -> Tensor:
        return self.chain(Image.open(self.paths[place]).convert("RGB"))


def files_in_batches(paths: Sequence[Path]) -> DataLoader[Tensor]:
    """Give batches of 32 image files, in order."""
    return DataLoader(Files(paths), 32)


def train_step(net: nn.Module, sgd: torch.optim.SGD, images: Tensor, labels: Tensor) -> float:
    """Make one step as published, accuracies and all."""
    out = net(images)
    loss = functional.cross_entropy(out, labels)
    hits = out.topk(5, 1).indices.eq(labels[:, None])
    _ = loss.item(), hits[:, :1].sum().item(), hits.sum().item()
    sgd.zero_grad()
    loss.backward()
    sgd.step()
    return loss.item()


def test_pass(net: nn.Module, pixels: NDArray[np.uint8], labels: NDArray[np.int64]) -> float:
    """Measure top-1 accuracy as published."""
    net.eval()
    right = 0
    device = next(net.parameters()).device
    with torch.no_grad():
        for images, targets in DataLoader(Pictures(pixels, labels, TEST), 100):
            right += int((net(images.to(device)).argmax(1) == targets.to(device)).sum().item())
    net.train()
    return right / len(labels)
