"""The composition root: one mount, built from its parts, and the surroundings that it needs."""
