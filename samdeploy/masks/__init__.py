"""Masks, and what can be done with them."""

from samdeploy.masks.masks import Masks

__all__ = ["Masks"]
