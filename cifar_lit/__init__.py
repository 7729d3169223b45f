"""CIFAR-100 training recipes, compared honestly: PyTorch Lightning does the work, Hydra composes it."""
