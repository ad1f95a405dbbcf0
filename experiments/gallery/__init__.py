"""Models built on the extension point, one file each: a class, its configuration, and where it comes from.

vae.py  iwae.py                                  what the others are held against
vamp_prior.py  mixture_prior.py                  priors that are trained
flow_posterior.py  ladder.py                     posteriors of another form
miwae.py  piwae.py                               importance-weighted bounds
tc_vae.py  conditional.py                        the parts of the divergence; classes
vq_vae.py  fsq.py                                discrete codes
discretised_logistic.py                          a likelihood of grey levels
study.py  measures.py                            train and evaluate them; what each has to show
"""

MODELS = (
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
"""names of the files with a model, in the order of the table"""
