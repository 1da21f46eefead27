"""Tries the checks with small faults: changes every solution by rule and asks who notices.

The rules are our own. Cosmic Ray, mutmut and mutatest change files under a test suite and know
comparisons, operators and constants; what goes wrong in tensor code (an axis, a mask, a gradient, a
dtype, an input changed in place) none of them has, and their runners cannot judge by a check.
"""
