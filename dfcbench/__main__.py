"""``python -m dfcbench`` is the ``dfcbench`` command."""

from dfcbench.cli import main

if __name__ == "__main__":
    main()
