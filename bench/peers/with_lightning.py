"""PyTorch Lightning around the usual script's data, timed.

Trainer.fit for the epochs, Trainer.validate on both splits.

Command: python bench/peers/with_lightning.py --data pixels.npz --batch 64 --workers 0
prints JSON
"""

from __future__ import annotations

import logging
import time
import warnings

import lightning
import torch
import torch.nn.functional as F
from common import arguments, arrays, network, report
from plain import Pictures, faster_workers
from torch.utils.data import DataLoader


class Module(lightning.LightningModule):
    def __init__(self, work: str, lr: float) -> None:
        super().__init__()
        self.net, self.lr = network(work), lr

    def training_step(self, batch, _index):
        images, labels = batch
        loss = F.cross_entropy(self.net(images), labels)
        self.log("train_running_loss", loss)
        return loss

    def validation_step(self, batch, _index, dataloader_idx=0):
        images, labels = batch
        out = self.net(images)
        self.log_dict(
            {
                "loss": F.cross_entropy(out, labels),
                "accuracy": (out.argmax(1) == labels).float().mean(),
            },
            batch_size=len(labels),
        )

    def configure_optimizers(self):
        return torch.optim.Adam(self.parameters(), lr=self.lr)


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--workers", default="auto")
    given = parser.parse_args()
    warnings.filterwarnings("ignore")
    for name in ("lightning", "lightning.pytorch"):
        logging.getLogger(name).setLevel(logging.ERROR)
    splits = {name: Pictures(*pair) for name, pair in arrays(given.data, given.images).items()}
    automatic = given.workers == "auto"
    workers = (
        faster_workers(splits["train"], len(splits["train"]), given.work, given.batch)
        if automatic
        else int(given.workers)
    )
    torch.manual_seed(given.seed)
    module = Module(given.work, given.lr)
    loaders = {
        name: DataLoader(
            split, batch_size=given.batch, shuffle=name == "train", num_workers=workers
        )
        for name, split in splits.items()
    }
    quiet = {
        "logger": False,
        "enable_checkpointing": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
        "accelerator": "cpu",
    }
    started, trained = time.perf_counter(), 0.0
    trainer = lightning.Trainer(max_epochs=given.epochs, **quiet)
    found: dict[str, float] = {}
    trainer.fit(module, loaders["train"])
    trained = time.perf_counter() - started
    for name, loader in loaders.items():
        (result,) = trainer.validate(module, loader, verbose=False)
        found[f"{name}_loss"], found[f"{name}_accuracy"] = result["loss"], result["accuracy"]
    seconds = time.perf_counter() - started
    settings = f"float32, N×C×H×W, {torch.get_num_threads()} threads, {workers} DataLoader workers"
    report(settings, seconds=seconds, train_seconds=trained, workers=workers, **found)


if __name__ == "__main__":
    main()
