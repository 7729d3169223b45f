"""Augmentation: one policy, two engines that draw from the same distributions."""
