"""Shared work and service tasks: what several callers wait for belongs to none of them."""
