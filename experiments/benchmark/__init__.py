"""Measurements of speed, and their explanation.

throughput.py   images per second, in turn with other configurations and other programs
prepared.py     a model's programs and state, as training uses them
peers/          programs of other libraries that train the same model
roofline.py     floating-point operations of a step, and the peak rates of this device
processes.py    child processes that print JSON
report.py       the tables of a benchmark
compiled.py     programs compiled ahead of time for other accelerators
targets.py      the accelerators that programs can be compiled for
hlo.py          the text of a compiled program: its operations and its loop
bundles.py      the schedule of a TPU
launches.py     the kernel launches of a GPU
profile.py      the time of each operation in a trace
"""
