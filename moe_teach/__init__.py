"""moe_teach: build a Mixture-of-Experts language model from scratch, and measure every claim.

Importing the package costs nothing: torch and everything heavier is imported by the room that
needs it (`moe_teach.nn`, `moe_teach.widgets`, ...), never here.
"""

from importlib.metadata import PackageNotFoundError, version

try:
    __version__ = version("moe-teach")
except PackageNotFoundError:  # a source tree on the path that nobody installed
    __version__ = "0+unknown"
