"""Networks: residual families of our own, and any of timm's by name."""

from cifar_lit.model.registry import NETWORKS, build, describe

__all__ = ["NETWORKS", "build", "describe"]
