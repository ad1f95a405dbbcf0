"""How fast, and why.

benchmark.py     throughput beside other programs, pair by pair
report.py        what a benchmark leaves behind: its file, its figure, its tables
roofline.py      what bounds a step
peers.py         programs that train the same model by other means
profile.py       where the time of training goes, by operation
"""
