"""How a network does on images unlike those it learned from: corrupted, and of other things. `python -m cifar_lit.robustness`."""
