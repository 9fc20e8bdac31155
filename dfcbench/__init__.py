"""dfcbench: the 2020 IEEE GRSS Data Fusion Contest as a benchmark that anyone can run."""

__version__ = "0.1.0"
