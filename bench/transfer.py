"""One learning rate for networks of all widths: by which power of the width does the best one fall?

Narrow, middle and wide networks of the capacity sweep (three convolutions, one fully connected
layer, Adam at a constant rate, standard parametrisation) are trained at a grid of rates on a part
of the images. The best rate of each width is where a parabola through log rate and the lowest
validation loss has its minimum. The slope of log best rate over log width stands against what
chapters/capacity assumes, and the loss that its rule costs is printed for other powers, too.

Command: python bench/transfer.py [--images 5000] [--widths 4 16 64]       about four minutes
writes bench/results/transfer.json
"""

from __future__ import annotations

import argparse
import json
import math
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from figures import machine_line, markdown

import convscope as cs

HERE = Path(__file__).parent
EPOCHS = {4: 12, 8: 10, 16: 8, 32: 6, 64: 5}  # enough to reach the lowest validation loss
POWERS = (0.0, -0.5, -1.0)
REFERENCE = 16  # the width whose rate the others are computed from


def lowest_loss(width: int, rate: float, seed: int, asked: argparse.Namespace, out: Path) -> float:
    """The lowest validation loss of a run; infinite where it diverges."""
    recipe = cs.Recipe(
        data=asked.data,
        model=cs.ConvNet(width, 3),
        epochs=max(1, round(EPOCHS[width] * asked.epochs)),
        limit=asked.images,
        lr=rate,
        seed=seed,
        evaluate=("val",),
    )
    run = cs.train(recipe, out)
    return run.best["val_loss"] if run.status == "finished" else math.inf


def bottom(rates: list[float], losses: list[float]) -> tuple[float, float]:
    """(rate, loss) at the lowest point of a parabola through the best rate and its neighbours.

    At an end of the grid it is the end itself.
    """
    best = int(np.argmin(losses))
    if best in (0, len(rates) - 1) or not np.isfinite(losses[best - 1 : best + 2]).all():
        return rates[best], losses[best]
    x = np.log(rates[best - 1 : best + 2])
    a, b, c = np.polyfit(x, losses[best - 1 : best + 2], 2)
    return float(np.exp(-b / (2 * a))), float(c - b**2 / (4 * a))


def between(rates: list[float], losses: list[float], rate: float) -> float:
    """The loss at a rate between those that were tried, on straight lines in log rate."""
    return float(np.interp(math.log(rate), np.log(rates), losses))


def measured(asked: argparse.Namespace) -> list[dict[str, Any]]:
    rows = []
    with tempfile.TemporaryDirectory() as out:
        for width in asked.widths:
            tried = [
                [lowest_loss(width, rate, s, asked, Path(out)) for s in range(asked.seeds)]
                for rate in asked.rates
            ]
            losses = [float(np.mean(of_seeds)) for of_seeds in tried]
            rate, loss = bottom(asked.rates, losses)
            rows.append({"width": width, "losses": losses, "rate": rate, "loss": loss})
            print(width, [f"{x:.3f}" for x in losses], f"best {rate:.4f}: {loss:.3f}", flush=True)
    return rows


def costs(rows: list[dict[str, Any]], rates: list[float]) -> dict[str, list[float]]:
    """For each power the loss above each width's own best where the reference's rate is scaled."""
    known = next(row["rate"] for row in rows if row["width"] == REFERENCE)
    return {
        f"{power:g}": [
            between(rates, row["losses"], known * (row["width"] / REFERENCE) ** power)
            - min(row["losses"])
            for row in rows
        ]
        for power in POWERS
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", default="cifar10")
    parser.add_argument("--images", type=int, default=5_000)
    parser.add_argument("--widths", type=int, nargs="+", default=[4, 16, 64], choices=EPOCHS)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--epochs", type=float, default=1.0, help="factor on the epochs")
    parser.add_argument("--rates", type=float, nargs="+", default=[5e-4, 1e-3, 2e-3, 4e-3, 8e-3])
    asked = parser.parse_args()
    print(machine_line())
    rows = measured(asked)
    x, y = (np.log([row[key] for row in rows]) for key in ("width", "rate"))
    slope = float(np.polyfit(x, y, 1)[0])
    cells = [
        [str(r["width"]), *(f"{v:.3f}" for v in r["losses"]), f"{r['rate']:.2g}"] for r in rows
    ]
    print(markdown(("width", *(f"{rate:g}" for rate in asked.rates), "best rate"), cells))
    print(f"log best rate over log width: slope {slope:+.2f}")
    above = costs(rows, asked.rates)
    for power, losses in above.items():
        told = ", ".join(f"{r['width']}: {v:+.3f}" for r, v in zip(rows, losses, strict=True))
        print(f"rate ∝ width^{power}: loss above each width's own best: {told}")
    (HERE / "results").mkdir(exist_ok=True)
    found = {"asked": vars(asked), "rows": rows, "slope": slope, "above": above}
    (HERE / "results" / "transfer.json").write_text(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
