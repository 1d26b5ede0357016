"""skorch: NeuralNetClassifier.fit on float32 arrays, then log-probabilities of both splits, timed.

Command: python bench/peers/with_skorch.py --data pixels.npz --batch 64         prints JSON
"""

from __future__ import annotations

import time

import numpy as np
import torch
from common import arguments, arrays, network, normalised, report
from skorch import NeuralNetClassifier
from torch import nn


def main() -> None:
    given = arguments(__doc__).parse_args()
    splits = {}
    for name, (images, labels) in arrays(given.data, given.images).items():
        splits[name] = (
            np.ascontiguousarray(normalised(images).transpose(0, 3, 1, 2)),
            labels.astype(np.int64),
        )
    torch.manual_seed(given.seed)
    net = NeuralNetClassifier(
        network(given.work),
        criterion=nn.CrossEntropyLoss,
        optimizer=torch.optim.Adam,
        lr=given.lr,
        batch_size=given.batch,
        max_epochs=given.epochs,
        iterator_train__shuffle=True,
        train_split=None,
        verbose=0,
    )
    net.initialize()
    started = time.perf_counter()
    net.fit(*splits["train"])
    trained = time.perf_counter() - started
    found: dict[str, float] = {}
    for name, (x, labels) in splits.items():
        out = torch.from_numpy(net.predict_proba(x))
        picked = out[torch.arange(len(labels)), torch.from_numpy(labels)].clamp(min=1e-30)
        found[f"{name}_loss"] = float(-picked.log().mean())
        found[f"{name}_accuracy"] = float((out.argmax(1).numpy() == labels).mean())
    seconds = time.perf_counter() - started
    report(
        f"float32, N×C×H×W, {torch.get_num_threads()} threads",
        seconds=seconds,
        train_seconds=trained,
        **found,
    )


if __name__ == "__main__":
    main()
