"""Many models as one program.

programs.py      sweep: the programs of a grid, one after another
members.py       the members of one program: their values, states and figures, and the devices they share
comparison.py    the members side by side: the best, a table, a figure
"""

from aejax.sweeps.members import Members
from aejax.sweeps.programs import Sweep, sweep
