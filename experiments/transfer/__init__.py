"""Two studies of runs that start from another run.

study.py    another domain: a frozen encoder, with a decoder trained on other images; more data: a warm start
"""
