"""What a study's finished sweep comes to: figures, and a verdict in words. `python -m cifar_lit.study runs/<study>/<time>`."""
