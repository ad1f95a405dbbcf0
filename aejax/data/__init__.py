"""Images and vectors by name, path, code or array; README.md lists the accepted and refused formats.

    dataset.py         Dataset: training, validation and test examples, and their labels
    datasets.py        from a name, a path, code or arrays to a Dataset
    examples.py        stored examples (Shards), computed examples (Computed), and their common protocol
    pixels.py          conversion to images, vectors, targets or classes, and the scale of pixels
    parts.py           names of parts: train, test, val, x_train, ...
    validation.py      validation examples: which runs need them, and which are set aside
    array_files.py     `.npy`, `.npz`, tables and IDX files; FORMATS, the table of formats
    tables.py          `.csv` and `.parquet` files and data frames: vectors with names
    libraries.py       datasets of Hugging Face, PyTorch and tf.data
    folders.py         folders of such files (one per part, or shards) and of images (parts, classes)
    images.py          image files of 8 bits per channel; images of one size and one number of channels
    downloads.py       datasets of tensorflow-datasets; MNIST and Fashion-MNIST without TensorFlow
    cache.py           prepared datasets on disk, with checksums

No module imports JAX before it needs to compute.
"""

from aejax.data.dataset import Dataset, Standardization, as_met
from aejax.data.datasets import as_dataset, is_path, load_dataset, require_fit, require_images
from aejax.data.examples import Computed, Examples
from aejax.data.pixels import is_known, require_range, require_scale
from aejax.data.validation import describe, resolved, split
