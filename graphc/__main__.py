"""``python -m graphc``: the command line, where the ``graphc`` script is not on PATH."""

from graphc.cli import main

if __name__ == "__main__":
    main()
