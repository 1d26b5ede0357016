"""Does depth matter on `shapes`? Softmax regression, one convolution and three, ten epochs each.

Command: python bench/shapes.py [seed of the training, 0]        (one thread, 75 s)
Test accuracy on 2,000 images, mean of n = 3 seeds (least to most):
softmax regression 11.8 % (11.5 to 12.4), one convolution and global average pooling 43.2 % (42.5 to
43.8), three convolutions 96.8 % (96.4 to 97.2).
Hardware: one thread of a 2-core AVX-512/bf16 x86 CPU, PyTorch 2.13.
"""

from __future__ import annotations

import sys
import time

import torch
from torch import nn

from convscope.data import shapes

EPOCHS, BATCH = 10, 128


def networks() -> dict[str, tuple[nn.Module, float, float]]:
    """Name -> network, peak learning rate, bound of its accuracy.

    The accuracy must stay below a positive bound; it must reach the amount of a negative one.
    """
    deep: list[nn.Module] = []
    for channels_in, channels in ((3, 32), (32, 64), (64, 128)):
        deep += [nn.Conv2d(channels_in, channels, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)]
    gap = [
        nn.Conv2d(3, 32, 3, padding=1),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(32, 10),
    ]
    return {
        "softmax regression": (nn.Sequential(nn.Flatten(), nn.Linear(3072, 10)), 1e-3, 0.40),
        "1 convolution, global average pooling": (nn.Sequential(*gap), 3e-2, 0.60),
        "3 convolutions, flatten": (
            nn.Sequential(*deep, nn.Flatten(), nn.Linear(2048, 10)),
            3e-3,
            -0.80,
        ),
    }


def train(net: nn.Module, peak: float, x: torch.Tensor, y: torch.Tensor) -> None:
    steps = EPOCHS * (len(x) // BATCH)
    optimizer = torch.optim.Adam(net.parameters(), lr=peak)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, peak, total_steps=steps)
    for _ in range(EPOCHS):
        for batch in torch.randperm(len(x)).split(BATCH):
            if len(batch) < BATCH:
                continue
            optimizer.zero_grad()
            with torch.autocast("cpu", torch.bfloat16):
                loss = nn.functional.cross_entropy(net(x[batch]), y[batch])
            loss.backward()
            optimizer.step()
            schedule.step()


@torch.inference_mode()
def accuracy(net: nn.Module, x: torch.Tensor, y: torch.Tensor) -> float:
    return sum(
        (net(a).argmax(1) == b).sum().item()
        for a, b in zip(x.split(500), y.split(500), strict=True)
    ) / len(y)


def main() -> int:
    torch.set_num_threads(1)
    torch.manual_seed(int(sys.argv[1]) if len(sys.argv) > 1 else 0)
    start = time.perf_counter()
    (train_images, train_labels), (test_images, test_labels) = (
        shapes.generate(num, 0, split)
        for split, num in enumerate((shapes.NUM_TRAIN, shapes.NUM_TEST))
    )
    print(f"generated in {time.perf_counter() - start:.1f} s")
    x, x_test = (
        torch.from_numpy(a).permute(0, 3, 1, 2).float().div(255)
        for a in (train_images, test_images)
    )
    mean, std = x.mean((0, 2, 3), keepdim=True), x.std((0, 2, 3), keepdim=True)
    x, x_test, y, y_test = (
        (x - mean) / std,
        (x_test - mean) / std,
        torch.from_numpy(train_labels),
        torch.from_numpy(test_labels),
    )
    failed = False
    for name, (net, peak, bound) in networks().items():
        start = time.perf_counter()
        # torch types `memory_format` for 4-D inputs alone
        net = net.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
        train(net, peak, x, y)
        test = accuracy(net, x_test, y_test)
        good = test >= -bound if bound < 0 else test <= bound
        failed |= not good
        wanted = f"{'at least' if bound < 0 else 'at most'} {abs(bound):.0%}"
        print(
            f"{name:<40} test {test:6.1%}  train {accuracy(net, x, y):6.1%}  "
            f"wanted {wanted}  {time.perf_counter() - start:.0f} s"
        )
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
