"""What an expert writes by hand for this CPU: epochs on CIFAR-10 with both full evaluations, timed.

uint8 tensors resident in memory, gathered and normalised a batch at a time, channels_last, bfloat16
autocast, fused Adam, no loss fetched in the loop, evaluation in batches of 500 under
inference_mode, threads as torch chooses them. No file is written.

Command: python bench/peers/expert.py --data pixels.npz --batch 64         prints JSON
"""

from __future__ import annotations

import time

import torch
import torch.nn.functional as F
from common import MEAN, STD, arguments, arrays, network, report
from torch import Tensor, nn

MEANS = 255 * torch.tensor(MEAN).view(3, 1, 1)
SCALE = 1 / (255 * torch.tensor(STD).view(3, 1, 1))
EVAL_BATCH = 500


def prepare(images: Tensor) -> Tensor:
    """uint8 N×C×H×W with channels_last strides -> normalised bfloat16 of the same layout."""
    return images.float().sub_(MEANS).mul_(SCALE).bfloat16()


def train_epoch(
    net: nn.Module, optimizer: torch.optim.Optimizer, images: Tensor, labels: Tensor, batch: int
) -> None:
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
    given = arguments(__doc__).parse_args()
    splits = {
        name: (torch.from_numpy(images).permute(0, 3, 1, 2), torch.from_numpy(labels).long())
        for name, (images, labels) in arrays(given.data, given.images).items()
    }
    assert splits["train"][0].is_contiguous(memory_format=torch.channels_last)

    torch.manual_seed(given.seed)
    net = network(given.work, inplace=True).to(memory_format=torch.channels_last)
    optimizer = torch.optim.Adam(net.parameters(), lr=given.lr, fused=True)
    started, trained = time.perf_counter(), 0.0
    found: dict[str, float] = {}
    for _ in range(given.epochs):
        begun = time.perf_counter()
        train_epoch(net, optimizer, *splits["train"], given.batch)
        trained += time.perf_counter() - begun
        for name, split in splits.items():
            found[f"{name}_loss"], found[f"{name}_accuracy"] = evaluate(net, *split)
    seconds = time.perf_counter() - started
    report(
        f"bfloat16, channels_last, {torch.get_num_threads()} threads",
        seconds=seconds,
        train_seconds=trained,
        **found,
    )


if __name__ == "__main__":
    main()
