"""The embedded demo contest: an invented but faithful Data Fusion Contest, written as real tifs in the real layout."""

from dfcbench.demo.plan import SIZES
from dfcbench.demo.writing import MANIFEST, VERSION, cache_directory, ensure, generate, name

__all__ = ["MANIFEST", "SIZES", "VERSION", "cache_directory", "ensure", "generate", "name"]
