"""The command: `python -m cifar_lit.study runs/<study>/<time>`."""

import sys

from cifar_lit.study.conclude import main

if __name__ == "__main__":
    sys.exit(main())
