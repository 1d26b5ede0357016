"""What an expert writes by hand for this CPU: one epoch on CIFAR-10 with both full evaluations, timed.

uint8 tensors resident in memory, gathered and normalised a batch at a time, channels_last, bfloat16 autocast, fused Adam, no loss fetched in the
loop, evaluation in batches of 500 under inference_mode, threads as torch chooses them. No file is written.

Command: python bench/peers/expert.py --batch 64         prints JSON
"""

from __future__ import annotations

import argparse
import json
import time

import torch
import torch.nn.functional as F
from torch import Tensor, nn

MEAN = 255 * torch.tensor([0.4914, 0.4822, 0.4465]).view(3, 1, 1)
SCALE = 1 / (255 * torch.tensor([0.2470, 0.2435, 0.2616]).view(3, 1, 1))
EVAL_BATCH = 500


def network() -> nn.Module:
    layers: list[nn.Module] = []
    for channels_in, channels in ((3, 16), (16, 32), (32, 64)):
        conv = nn.Conv2d(channels_in, channels, 3, padding=1)
        nn.init.kaiming_normal_(conv.weight, nonlinearity="relu")
        layers += [conv, nn.ReLU(inplace=True), nn.MaxPool2d(2)]
    last = nn.Linear(1024, 10)
    nn.init.kaiming_normal_(last.weight, nonlinearity="linear")
    net = nn.Sequential(*layers, nn.Flatten(), last)
    for name, value in net.named_parameters():
        if name.endswith("bias"):
            nn.init.zeros_(value)
    return net.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]  torch types it for 4-D inputs alone


def prepare(images: Tensor) -> Tensor:
    """uint8 N×C×H×W with channels_last strides -> normalised bfloat16 of the same layout."""
    return images.float().sub_(MEAN).mul_(SCALE).bfloat16()


def train_epoch(net: nn.Module, images: Tensor, labels: Tensor, batch: int, lr: float) -> None:
    optimizer = torch.optim.Adam(net.parameters(), lr=lr, fused=True)
    net.train()
    for index in torch.randperm(len(images)).split(batch):
        with torch.autocast("cpu", torch.bfloat16):
            out = net(prepare(images[index]))
        loss = F.cross_entropy(out.float(), labels[index])
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()


@torch.inference_mode()
def evaluate(net: nn.Module, images: Tensor, labels: Tensor) -> tuple[float, float]:
    """Mean loss and accuracy of a whole split."""
    net.eval()
    with torch.autocast("cpu", torch.bfloat16):
        out = torch.cat([net(prepare(part)).float() for part in images.split(EVAL_BATCH)])
    return F.cross_entropy(out, labels).item(), (out.argmax(1) == labels).double().mean().item()


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--images", type=int, default=50_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--lr", type=float, default=1e-3)
    given = parser.parse_args()

    from convscope.data import load  # for the pixels alone; not in the seconds

    data = load("cifar10", val=0.0)
    train, labels = data.train.images[: given.images].clone(), data.train.labels[: given.images]
    test, test_labels = data.test.images.clone(), data.test.labels
    assert train.is_contiguous(memory_format=torch.channels_last)

    torch.manual_seed(given.seed)
    net = network()
    started = time.perf_counter()
    train_epoch(net, train, labels, given.batch, given.lr)
    trained = time.perf_counter() - started
    train_loss, train_accuracy = evaluate(net, train, labels)
    test_loss, test_accuracy = evaluate(net, test, test_labels)
    seconds = time.perf_counter() - started
    print(
        json.dumps(
            {
                "seconds": seconds,
                "train_seconds": trained,
                "train_loss": train_loss,
                "train_accuracy": train_accuracy,
                "test_loss": test_loss,
                "test_accuracy": test_accuracy,
                "settings": f"bfloat16, channels_last, {torch.get_num_threads()} threads",
            }
        )
    )


if __name__ == "__main__":
    main()
