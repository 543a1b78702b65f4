"""Measurements; not needed to export or run a model."""
