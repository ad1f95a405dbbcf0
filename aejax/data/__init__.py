"""Images and vectors by name, path or array; what is accepted and what is refused stands in README.md beside this.

    dataset.py         Dataset: examples for training and for test, and their labels
    datasets.py        the way to one from a name, a path or arrays
    pixels.py          which arrays are images or vectors, and on which scale
    labels.py          which arrays are classes
    array_files.py     `.npy`, `.npz` and IDX files
    array_folders.py   folders of `.npy` and `.npz` files: one for each part, or shards
    image_folders.py   folders of images: parts, classes, files
    mnist_tfds.py      MNIST and Fashion-MNIST by tensorflow-datasets, without TensorFlow
    cache.py           prepared data on disk, checked when it is opened
    sparse_features.py what examples made of known features follow from; sparse_law.py  how they are drawn
    generated.py       examples that are made as they are needed
    mapped.py          arrays in files that may be larger than memory, and several of them as one (Shards)

Nothing here imports JAX.
"""

from aejax.data.dataset import Dataset, Examples, Standardization
from aejax.data.datasets import as_dataset, is_path, load_dataset, require_fit, require_images
from aejax.data.pixels import as_examples, require_range, require_scale
from aejax.data.sparse_features import KNOWN, SparseFeatures
