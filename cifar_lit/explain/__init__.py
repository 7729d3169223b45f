"""What a trained network looks at: Grad-CAM, confused classes, filters. `python -m cifar_lit.explain <bundle> --what NAME`."""
