"""How fast, and why.

benchmark.py     throughput beside other programs, pair by pair
roofline.py      what bounds a step
peers.py         programs that train the same model by other means
profile.py       where the time of training goes, by operation
"""
