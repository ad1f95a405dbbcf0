"""The article's nine claims, each tested by an experiment with numbers and a figure.

Source: Arden Dertat, "Applied Deep Learning - Part 3: Autoencoders" (2017).
"""

from claims.capacity import too_powerful
from claims.compression import rate_distortion
from claims.denoising import better_features, convolutions
from claims.domain import data_specific, structure
from claims.embedding import tsne
from claims.generation import generative
from claims.page import write_page
from claims.sparsity import sparse
from claims.study import Result, Study

_FIRST = data_specific, rate_distortion, structure, too_powerful, better_features
CLAIMS = dict(enumerate((*_FIRST, sparse, convolutions, tsne, generative), start=1))
"""number of the claim in the article → experiment"""

__all__ = ["CLAIMS", "Result", "Study", "write_page"]
