"""The nine claims of the article, each an experiment with numbers and a figure.

Source: Arden Dertat, "Applied Deep Learning - Part 3: Autoencoders" (2017).
"""

from aejax.claims.capacity import too_powerful
from aejax.claims.compression import rate_distortion
from aejax.claims.denoising import better_features, convolutions
from aejax.claims.domain import data_specific, structure
from aejax.claims.embedding import tsne
from aejax.claims.generation import generative
from aejax.claims.page import write_page
from aejax.claims.sparsity import sparse
from aejax.claims.study import Result, Study

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
"""number → experiment, in the order of the article's claims"""

__all__ = ["CLAIMS", "Result", "Study", "write_page"]
