"""A trained model and what it is worth.

run.py           Run: encode, decode, reconstruct, sample
fitting.py       how a run comes about: by training it (fit), or by reading it (load)
export.py        the trained model for other programs: programs of JAX, arrays, ONNX, SAELens
sae_lens.py      a sparse autoencoder as SAELens reads it
onnx_graph.py    its operations as an ONNX graph
evaluation.py    evaluate: one model → one dictionary of figures
measures.py      of reconstructions and codes
classes.py       what a representation knows of the classes
likelihood.py    importance sampling under a variational model
figures.py       what is drawn of a run
vector_figures.py   what is drawn of one of vectors instead of images
drawing.py       how every figure looks and is written
tables.py        Markdown, of figures and their spread
"""

from aejax.evaluation.evaluation import FIELDS, cross_entropy, errors, evaluate
from aejax.evaluation.fitting import fit, load
from aejax.evaluation.likelihood import likelihood
from aejax.evaluation.run import Run
