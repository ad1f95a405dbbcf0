"""Two studies of runs that start from another run (study.py)."""
