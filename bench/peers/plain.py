"""The usual DataLoader script, as a student writes it: one epoch on CIFAR-10 with both full evaluations, timed.

PIL images turned into tensors one by one (what torchvision's CIFAR10, ToTensor and Normalize do, written here by hand), DataLoader,
float32, N×C×H×W, Adam, loss.item() after each batch, evaluation through a DataLoader of the same batch size. `--workers auto` tries no worker
and two on a part of the data with a throw-away network and takes the faster; the trial is not in the seconds.

Command: python bench/peers/plain.py --batch 64         prints JSON
"""

from __future__ import annotations

import argparse
import json
import time

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, Subset

MEAN = torch.tensor([0.4914, 0.4822, 0.4465]).view(3, 1, 1)
STD = torch.tensor([0.2470, 0.2435, 0.2616]).view(3, 1, 1)
TRIAL_IMAGES = 10_000


def to_tensor(image: Image.Image) -> Tensor:
    """PIL image -> float tensor C×H×W in [0, 1]."""
    return torch.from_numpy(np.array(image, copy=True)).permute(2, 0, 1).contiguous().float().div(255)


def normalise(x: Tensor) -> Tensor:
    return x.clone().sub_(MEAN).div_(STD)


class Pictures(Dataset[tuple[Tensor, int]]):
    def __init__(self, images: np.ndarray, labels: np.ndarray) -> None:
        self.images = images  # uint8 N×H×W×C
        self.labels = labels.tolist()

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, i: int) -> tuple[Tensor, int]:
        return normalise(to_tensor(Image.fromarray(self.images[i]))), self.labels[i]


def network() -> nn.Module:
    net = nn.Sequential(
        nn.Conv2d(3, 16, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(16, 32, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(32, 64, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(1024, 10),
    )
    # the same family of first weights as convscope's, so that losses can be compared
    for layer in net:
        if isinstance(layer, nn.Conv2d | nn.Linear):
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu" if isinstance(layer, nn.Conv2d) else "linear")
            assert layer.bias is not None
            nn.init.zeros_(layer.bias)
    return net


def train_epoch(net: nn.Module, loader: DataLoader, lr: float) -> float:
    """The running mean of the batches' losses."""
    loss_function = nn.CrossEntropyLoss()
    optimizer = torch.optim.Adam(net.parameters(), lr=lr)
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


def faster_workers(data: Dataset, count: int, batch: int, lr: float) -> int:
    part = Subset(data, range(min(TRIAL_IMAGES, count)))
    seconds = {}
    for workers in (0, 2):
        started = time.perf_counter()
        train_epoch(network(), DataLoader(part, batch_size=batch, shuffle=True, num_workers=workers), lr)
        seconds[workers] = time.perf_counter() - started
    return min(seconds, key=lambda workers: seconds[workers])


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--images", type=int, default=50_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--lr", type=float, default=1e-3)
    parser.add_argument("--workers", default="auto", help="auto, or a number")
    given = parser.parse_args()

    from convscope.data import load  # for the pixels alone; not in the seconds

    data = load("cifar10", val=0.0)
    splits = {}
    for name, split, count in (("train", data.train, given.images), ("test", data.test, None)):
        splits[name] = Pictures(split.images[:count].permute(0, 2, 3, 1).numpy().copy(), split.labels[:count].numpy())
    workers = (
        faster_workers(splits["train"], len(splits["train"]), given.batch, given.lr)
        if given.workers == "auto"
        else int(given.workers)
    )

    torch.manual_seed(given.seed)
    net = network()
    loaders = {
        name: DataLoader(split, batch_size=given.batch, shuffle=name == "train", num_workers=workers)
        for name, split in splits.items()
    }
    started = time.perf_counter()
    running = train_epoch(net, loaders["train"], given.lr)
    trained = time.perf_counter() - started
    train_loss, train_accuracy = evaluate(net, loaders["train"])
    test_loss, test_accuracy = evaluate(net, loaders["test"])
    seconds = time.perf_counter() - started
    print(
        json.dumps(
            {
                "seconds": seconds,
                "train_seconds": trained,
                "running_loss": running,
                "train_loss": train_loss,
                "train_accuracy": train_accuracy,
                "test_loss": test_loss,
                "test_accuracy": test_accuracy,
                "workers": workers,
                "settings": f"float32, N×C×H×W, {torch.get_num_threads()} threads, {workers} DataLoader workers",
            }
        )
    )


if __name__ == "__main__":
    main()
