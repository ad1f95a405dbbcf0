"""Models built on the extension point, one file each: a class, its configuration, and where it comes from.

vae.py  iwae.py                                  what the others are held against
vamp_prior.py  mixture_prior.py                  priors that are trained
flow_posterior.py  ladder.py                     posteriors of another form
miwae.py  piwae.py                               importance-weighted bounds
tc_vae.py  conditional.py                        the parts of the divergence; classes
vq_vae.py  fsq.py                                discrete codes
discretised_logistic.py                          a likelihood of grey levels
l1.py  top_k.py  batch_top_k.py  jump_relu.py  gated.py  matryoshka.py
                                                 sparse autoencoders of vectors; batch_top_k_16k.py is a large one
sparse_features.py                               synthetic vectors of known features
study.py  measures.py  recovery.py               train and evaluate them; what each has to show
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
"""models of images, in the order of their table"""

VECTORS = ("l1", "top_k", "batch_top_k", "jump_relu", "gated", "matryoshka")
"""models of vectors, in the order of theirs"""

LARGE = ("batch_top_k_16k",)
"""trained only where they are named: they are made for accelerators"""

MODELS = IMAGES + VECTORS
