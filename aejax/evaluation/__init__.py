"""Trained models and their metrics, figures and exports.

run.py           Run: encode, decode, reconstruct, sample
accepted.py      examples that a trained model accepts
fitting.py       fit trains a Run, load reads a Run
evaluation.py    evaluate: one model → one dictionary of metrics
measures.py      metrics of reconstructions, codes and classifiers
likelihood.py    importance sampling under a variational model
figures.py       figures of a run
layers.py        table of the layers of a run
drawing.py       style and writing of figures, Markdown tables
export.py        a trained model for other programs: JAX programs, arrays, ONNX, SAELens
onnx_graph.py    an ONNX graph from plain operations
"""

from aejax.evaluation.evaluation import FIELDS, errors, evaluate
from aejax.evaluation.fitting import fit, load
from aejax.evaluation.likelihood import likelihood
from aejax.evaluation.run import Run
