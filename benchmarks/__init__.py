"""Figures of zarrfs beside other file systems, measured in the same run.

`make bench` prints them all; `python -m benchmarks --help` tells how to ask for less.
"""
