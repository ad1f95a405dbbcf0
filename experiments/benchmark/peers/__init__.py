"""Programs of other libraries that train the same model, written as the users of these libraries write them.

peer.py        starts them, and times their epochs
task.py        the task of a program, and its answers
keras_fit.py  pytorch.py  flax_loop.py  flax_vae.py    the programs, which do not import aejax

The interpreter of an environment with their libraries runs them.
"""
