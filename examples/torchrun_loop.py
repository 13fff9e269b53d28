"""Our loss and our sampler on several processes: each sees its own share of one joint epoch.

    torchrun --nproc-per-node 2 examples/torchrun_loop.py

A few seconds on CPUs. The lines marked `# ours` are all that tailwise adds.
"""

import torch
import torch.distributed as dist
from sklearn.datasets import load_digits
from torch import nn
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DataLoader, Dataset

from tailwise.losses import BalancedSoftmaxLoss  # ours
from tailwise.samplers import EpochSampler  # ours

COUNTS = [100, 64, 42, 27, 17, 11, 7, 4, 3, 1]  # training images of the digits 0 to 9: 276


class Digits(Dataset):
    """The first images of each class, with their row numbers."""

    def __init__(self) -> None:
        images, labels = load_digits(return_X_y=True)
        rows = torch.cat([torch.tensor(labels == c).nonzero()[:n, 0] for c, n in enumerate(COUNTS)])
        self.images, self.labels = torch.tensor(images)[rows].float() / 16, torch.tensor(labels)[rows]

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, row: int) -> tuple[torch.Tensor, torch.Tensor, int]:
        return self.images[row], self.labels[row], row


dist.init_process_group("gloo")
torch.manual_seed(0)
data = Digits()
net = DistributedDataParallel(nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10)))
optimiser = torch.optim.SGD(net.parameters(), lr=0.2, momentum=0.9)
criterion = BalancedSoftmaxLoss(COUNTS)  # ours
sampler = EpochSampler(data.labels, sampler=None, seed=0)  # ours; rank and world come from the process group
loader = DataLoader(data, batch_size=16, sampler=sampler)

for epoch in range(5):
    sampler.set_epoch(epoch)  # ours
    seen = []
    for images, labels, rows in loader:
        optimiser.zero_grad()
        loss = criterion(net(images), labels)
        loss.backward()
        optimiser.step()
        seen += rows.tolist()
    shares: list[list[int]] = [[] for _ in range(dist.get_world_size())]
    dist.all_gather_object(shares, seen)
    assert sorted(row for share in shares for row in share) == list(range(len(data))), "every row once, in one share"
    if dist.get_rank() == 0:
        print(f"epoch {epoch}: {' + '.join(str(len(share)) for share in shares)} rows, no row in two shares; loss {loss.item():.3f}")
dist.barrier()  # nobody leaves while another still talks
dist.destroy_process_group()
