"""The usual DataLoader script, as a student writes it, on CIFAR-10: epochs and evaluations, timed.

Both full evaluations follow each epoch. PIL images are turned into tensors one by one (what
torchvision's CIFAR10, ToTensor and Normalize do, written here by hand); DataLoader, float32,
N×C×H×W, Adam, loss.item() after each batch, evaluation through a DataLoader of the same batch size.
`--workers auto` tries no worker and two on a part of the data with a throw-away network and takes
the faster; the trial is not in the seconds.

Command: python bench/peers/plain.py --data pixels.npz --batch 64         prints JSON
"""

from __future__ import annotations

import time

import numpy as np
import torch
from common import MEAN, STD, arguments, arrays, network, report
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, Subset

MEANS, STDS = torch.tensor(MEAN).view(3, 1, 1), torch.tensor(STD).view(3, 1, 1)
TRIAL_IMAGES = 10_000


def to_tensor(image: Image.Image) -> Tensor:
    """PIL image -> float tensor C×H×W in [0, 1]."""
    return (
        torch.from_numpy(np.array(image, copy=True)).permute(2, 0, 1).contiguous().float().div(255)
    )


def normalise(x: Tensor) -> Tensor:
    return x.clone().sub_(MEANS).div_(STDS)


class Pictures(Dataset[tuple[Tensor, int]]):
    def __init__(self, images: np.ndarray, labels: np.ndarray) -> None:
        self.images = images  # uint8 N×H×W×C
        self.labels = labels.tolist()

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, i: int) -> tuple[Tensor, int]:
        return normalise(to_tensor(Image.fromarray(self.images[i]))), self.labels[i]


def train_epoch(net: nn.Module, optimizer: torch.optim.Optimizer, loader: DataLoader) -> float:
    """The running mean of the batches' losses."""
    loss_function = nn.CrossEntropyLoss()
    net.train()
    total = 0.0
    for images, labels in loader:
        optimizer.zero_grad()
        loss = loss_function(net(images), labels)
        loss.backward()
        optimizer.step()
        total += loss.item()
    return total / len(loader)


@torch.no_grad()
def evaluate(net: nn.Module, loader: DataLoader) -> tuple[float, float]:
    """Mean loss and accuracy of a whole split."""
    loss_function = nn.CrossEntropyLoss()
    net.eval()
    total, right, count = 0.0, 0, 0
    for images, labels in loader:
        out = net(images)
        total += loss_function(out, labels).item() * len(labels)
        right += (out.argmax(1) == labels).sum().item()
        count += len(labels)
    return total / count, right / count


def faster_workers(data: Dataset, count: int, work: str, batch: int) -> int:
    part = Subset(data, range(min(TRIAL_IMAGES, count)))
    seconds = {}
    for workers in (0, 2):
        net = network(work)
        started = time.perf_counter()
        train_epoch(
            net,
            torch.optim.Adam(net.parameters()),
            DataLoader(part, batch_size=batch, shuffle=True, num_workers=workers),
        )
        seconds[workers] = time.perf_counter() - started
    return min(seconds, key=lambda workers: seconds[workers])


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--workers", default="auto", help="auto, or a number")
    given = parser.parse_args()
    splits = {name: Pictures(*pair) for name, pair in arrays(given.data, given.images).items()}
    automatic = given.workers == "auto"
    workers = (
        faster_workers(splits["train"], len(splits["train"]), given.work, given.batch)
        if automatic
        else int(given.workers)
    )

    torch.manual_seed(given.seed)
    net = network(given.work)
    optimizer = torch.optim.Adam(net.parameters(), lr=given.lr)
    loaders = {
        name: DataLoader(
            split, batch_size=given.batch, shuffle=name == "train", num_workers=workers
        )
        for name, split in splits.items()
    }
    started, trained = time.perf_counter(), 0.0
    found: dict[str, float] = {}
    for _ in range(given.epochs):
        begun = time.perf_counter()
        found["running_loss"] = train_epoch(net, optimizer, loaders["train"])
        trained += time.perf_counter() - begun
        for name, loader in loaders.items():
            found[f"{name}_loss"], found[f"{name}_accuracy"] = evaluate(net, loader)
    seconds = time.perf_counter() - started
    settings = f"float32, N×C×H×W, {torch.get_num_threads()} threads, {workers} DataLoader workers"
    report(settings, seconds=seconds, train_seconds=trained, workers=workers, **found)


if __name__ == "__main__":
    main()
