"""Measurements; not needed to export or run a model.

The hub finds :func:`.suite.benchmark`, :func:`.compare.compare` and :func:`.peers.peers` by name.
"""
