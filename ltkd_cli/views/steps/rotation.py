"""Rotate by a random angle."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from .. import geometry
from ..contract import PixelStep, within
from ..draws import Draws


@dataclass(frozen=True)
class Rotation(PixelStep):
    """Rotates about the centre by up to DEGREES both ways; nearest pixel, black corners.

    Source: torchvision's RandomRotation.
    """

    version = 1
    usage = "rotation:DEGREES"

    degrees: float

    def __post_init__(self) -> None:
        within("angle in degrees", self.degrees, 0, 180)

    def angles(self, draws: Draws) -> Tensor:
        """Counter-clockwise angles in degrees: float64 [B]."""
        return (2 * draws.uniforms(1)[0] - 1) * self.degrees

    def apply(self, images: Tensor, draws: Draws) -> Tensor:
        """uint8 [B, 3, H, W] rotated."""
        return rotate(images, self.angles(draws))


def rotate(images: Tensor, angles: Tensor) -> Tensor:
    """Images rotated by angles in degrees, float64 [B] on the host."""
    return geometry.warp(images, geometry.rotate(angles, (images.shape[2], images.shape[3])))
