"""Colour jitter of float images, for the training loader."""

from .steps.simclr_jitter import jitter

__all__ = ["jitter"]
