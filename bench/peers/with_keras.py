"""Keras 3: model.fit on float32 arrays and model.evaluate on both splits, timed.

The backend is KERAS_BACKEND's; the bench tries each and shows the fastest.

Command: KERAS_BACKEND=jax python bench/peers/with_keras.py --data pixels.npz --batch 64
prints JSON
"""

from __future__ import annotations

import os
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
from common import BLOCKS, arguments, arrays, normalised, report
from keras import layers


def network(work: str) -> keras.Model:
    normal = {"kernel_initializer": "he_normal", "padding": "same", "activation": "relu"}
    stack: list = [keras.Input((32, 32, 3))]
    for filters, convolutions in BLOCKS[work]:
        stack += [layers.Conv2D(filters, 3, **normal) for _ in range(convolutions)]
        stack.append(layers.MaxPooling2D(2))
    stack += [layers.Flatten(), layers.Dense(10, kernel_initializer="lecun_normal")]
    return keras.Sequential(stack)


def main() -> None:
    given = arguments(__doc__).parse_args()
    splits = {
        name: (normalised(images), labels)
        for name, (images, labels) in arrays(given.data, given.images).items()
    }
    keras.utils.set_random_seed(given.seed)
    net = network(given.work)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    net.compile(keras.optimizers.Adam(given.lr), loss, metrics=["accuracy"])
    started, trained = time.perf_counter(), 0.0
    found: dict[str, float] = {}
    for _ in range(given.epochs):
        begun = time.perf_counter()
        net.fit(*splits["train"], batch_size=given.batch, epochs=1, verbose=0)
        trained += time.perf_counter() - begun
        for name, split in splits.items():
            found[f"{name}_loss"], found[f"{name}_accuracy"] = map(
                float, net.evaluate(*split, batch_size=500, verbose=0)
            )
    seconds = time.perf_counter() - started
    report(
        f"{keras.backend.backend()} backend, float32",
        seconds=seconds,
        train_seconds=trained,
        **found,
    )


if __name__ == "__main__":
    main()
