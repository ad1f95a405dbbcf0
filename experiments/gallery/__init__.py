"""Models built on the extension point, one file for each: the idea, the paper, a class and its configuration.

vae.py  iwae.py                                  baselines
vamp_prior.py  mixture_prior.py                  trained priors
flow_posterior.py  ladder.py                     posteriors that are not independent normal distributions
miwae.py  piwae.py                               importance-weighted bounds
tc_vae.py  conditional.py                        weights of the parts of the KL divergence; classes
vq_vae.py  fsq.py                                discrete codes
discretised_logistic.py                          a likelihood of grey levels
l1.py  top_k.py  batch_top_k.py  jump_relu.py  gated.py  matryoshka.py
                                                 sparse autoencoders of vectors; batch_top_k_16k.py is a large one
sparse_features.py  sparse_law.py                vectors with known features
study.py  measures.py  recovery.py               training, evaluation and tables
compare_sae_lens.py  sae_lens_peer.py            comparison with SAELens
"""

IMAGES = (
    "vae",
    "vamp_prior",
    "mixture_prior",
    "flow_posterior",
    "ladder",
    "tc_vae",
    "conditional",
    "iwae",
    "miwae",
    "piwae",
    "vq_vae",
    "fsq",
    "discretised_logistic",
)
"""models of images, in the order of the table"""

VECTORS = ("l1", "top_k", "batch_top_k", "jump_relu", "gated", "matryoshka")
"""models of vectors, in the order of the table"""

LARGE = ("batch_top_k_16k",)
"""models for accelerators; gallery.py trains them only if they are named"""

MODELS = IMAGES + VECTORS
