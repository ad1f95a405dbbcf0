"""Models built on the extension point, one file for each: the idea, the paper, a class and its configuration.

vae.py  iwae.py                                  baselines
vamp_prior.py  mixture_prior.py                  trained priors
flow_posterior.py  ladder.py                     posteriors that are not independent normal distributions
miwae.py  piwae.py                               importance-weighted bounds
tc_vae.py                                        weights of the parts of the KL divergence
conditional.py  semi_supervised.py               classes: all images have one, or few images
vq_vae.py  fsq.py  gumbel_softmax.py             discrete codes
discretised_logistic.py                          a likelihood of grey levels
adversarial.py  wae_mmd.py                       a prior of all codes together, without a posterior
masked.py                                        completion of images
l1.py  top_k.py  batch_top_k.py  jump_relu.py  gated.py  matryoshka.py
                                                 sparse autoencoders of vectors; batch_top_k_16k.py and
                                                 batch_top_k_131k.py are large
transcoder.py                                    sparse units from the input of a layer to its output
sparse_features.py  sparse_law.py                vectors with known features
study.py  measures.py  figures.py  recovery.py   training, evaluation, figures and tables
full_size.py                                     full-size sparse autoencoders, on many test vectors
compare_sae_lens.py  sae_lens_peer.py            comparison with SAELens
"""

IMAGES = (
    *("vae", "vamp_prior", "mixture_prior", "flow_posterior", "ladder", "tc_vae", "conditional", "semi_supervised"),
    *("iwae", "miwae", "piwae"),
    *("vq_vae", "fsq", "gumbel_softmax", "discretised_logistic"),
    *("adversarial", "wae_mmd", "masked"),
)
"""models of images, in the order of the table"""

VECTORS = ("l1", "top_k", "batch_top_k", "jump_relu", "gated", "matryoshka")
"""models of vectors, in the order of the table"""

LAYERS = ("transcoder",)
"""models of the input and the output of a layer"""

LARGE = ("batch_top_k_16k",)
"""models for accelerators; gallery.py trains them only if they are named"""

COMPILED = ("batch_top_k_131k",)
"""models that were compiled ahead of time and not trained; gallery.py has no results for them"""

MODELS = IMAGES + VECTORS + LAYERS
