"""Our loss and our sampler in a plain PyTorch loop: digits with a long tail, against cross-entropy.

    python examples/plain_loop.py

A few seconds on a CPU. The lines marked `# ours` are all that tailwise adds.
"""

import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.nn.functional import cross_entropy, linear, normalize
from torch.utils.data import DataLoader, TensorDataset

from tailwise.evaluation import per_class_accuracy  # ours
from tailwise.losses import LDAMLoss  # ours
from tailwise.samplers import EpochSampler  # ours

COUNTS = [100, 64, 42, 27, 17, 11, 7, 4, 3, 2]  # training images of the digits 0 to 9
EPOCHS = 40


class Cosines(nn.Module):
    """A small network whose logits are cosines in [-1, 1], as LDAM wants them."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Linear(64, 128), nn.ReLU(), nn.Linear(128, 64), nn.ReLU())
        self.weight = nn.Parameter(torch.randn(10, 64))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Give (B, 10) cosines of (B, 64) images."""
        return linear(normalize(self.body(images)), normalize(self.weight))


def train(images, labels, criterion, sampler) -> nn.Module:
    """Train on the rows that the sampler shows."""
    torch.manual_seed(0)
    net = Cosines()
    optimiser = torch.optim.Adam(net.parameters(), lr=0.003)
    loader = DataLoader(TensorDataset(images, labels), batch_size=32, sampler=sampler)
    for epoch in range(EPOCHS):
        sampler.set_epoch(epoch)  # ours
        for batch, targets in loader:
            optimiser.zero_grad()
            criterion(net(batch), targets).backward()
            optimiser.step()
    return net


images, labels = (torch.tensor(array) for array in load_digits(return_X_y=True))
images = images.float() / 16
of_class = [(labels == c).nonzero()[:, 0] for c in range(10)]
shown, held = (torch.cat(rows) for rows in zip(*((r[:n], r[100:]) for r, n in zip(of_class, COUNTS, strict=True)), strict=True))

plain = train(images[shown], labels[shown], lambda u, y: cross_entropy(30 * u, y), EpochSampler(labels[shown], sampler=None))
ours = train(images[shown], labels[shown], LDAMLoss(COUNTS, max_margin=0.5, scale=30.0), EpochSampler(labels[shown]))  # ours

for name, net in (("cross-entropy", plain), ("LDAM, class-balanced rows", ours)):
    accuracies = per_class_accuracy(labels[held], net(images[held]).detach(), classes=10)  # ours
    print(f"{name:<26} all classes {accuracies.mean():.1%}, the three rarest {accuracies[7:].mean():.1%}")
