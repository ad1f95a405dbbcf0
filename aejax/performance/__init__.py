"""How fast, and why.

benchmark.py     throughput beside other programs, pair by pair
report.py        what a benchmark leaves behind: its file, its figure, its tables
roofline.py      what bounds a step
peers.py         programs that train the same model by other means
compiled.py      what the compilers make of our programs for accelerators, which need not be there
targets.py       the accelerators that can be compiled for
bundles.py       what a TPU's schedule says
launches.py      what a GPU is given to do
profile.py       where the time of training goes, by operation
"""
