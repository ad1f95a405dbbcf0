"""Many models as one program.

programs.py      sweep: the programs of a grid, one after another
members.py       the members of one program: values, states, summary, and their share of the devices
comparison.py    comparison of the members: the best, a table, a figure
"""

from aejax.sweeps.members import Members
from aejax.sweeps.programs import Sweep, sweep
