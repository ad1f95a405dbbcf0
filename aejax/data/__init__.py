"""Images by name, path or array.

    datasets.py      Dataset, and the way to one from a name, a path or an array
    image_files.py   a `.npy` or `.npz` file, or a folder of images
    mnist_tfds.py    MNIST and Fashion-MNIST by tensorflow-datasets, without TensorFlow
    pixels.py        which arrays are images, and which pixels a model can take
    cache.py         prepared data on disk, checked when it is opened
    mapped.py        arrays in files that may be larger than memory

Nothing here imports JAX.
"""

from aejax.data.datasets import Dataset, dataset_for, load_dataset, require_fit
from aejax.data.pixels import as_images, require_range
