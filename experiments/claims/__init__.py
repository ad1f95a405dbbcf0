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

CLAIMS = {
    1: data_specific,
    2: rate_distortion,
    3: structure,
    4: too_powerful,
    5: better_features,
    6: sparse,
    7: convolutions,
    8: tsne,
    9: generative,
}
"""number of the claim in the article → experiment"""

__all__ = ["CLAIMS", "Result", "Study", "write_page"]
