"""What the article's reader would write: the same model by Keras's `fit`; runs where Keras is installed.

Given the path of a task (JSON: images, config), prints the seconds of each epoch but the first.
"""

import json
import os
import sys
import time

os.environ.setdefault("KERAS_BACKEND", "jax")

import keras
import numpy as np


def main(path: str) -> None:
    with open(path) as file:
        task = json.load(file)
    config = task["config"]
    images = np.load(task["images"])
    images = images.reshape(len(images), -1).astype("float32") / 255
    model, hidden = config["model"], config["model"]["hidden"]
    network = keras.Sequential(
        [
            keras.Input((images.shape[1],)),
            *(keras.layers.Dense(width, activation="relu") for width in (*hidden, model["code_size"], *hidden[::-1])),
            keras.layers.Dense(images.shape[1], activation="sigmoid"),
        ]
    )
    network.compile(optimizer=keras.optimizers.Adam(1e-3), loss="binary_crossentropy")
    ends = []
    clock = keras.callbacks.LambdaCallback(
        on_epoch_begin=lambda *_: ends.append([time.perf_counter()]),
        on_epoch_end=lambda *_: ends[-1].append(time.perf_counter()),
    )
    network.fit(
        images,
        images,
        batch_size=config["training"]["batch_size"],
        epochs=4,
        shuffle=True,
        verbose=0,
        callbacks=[clock],
    )
    print(json.dumps([end - begin for begin, end in ends[1:]]))


if __name__ == "__main__":
    main(sys.argv[1])
