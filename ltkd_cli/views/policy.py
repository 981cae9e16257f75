"""A view is an integer: the pixels of (row, view) are a pure function of the two.

The teacher's stored outputs for (row, view) and the pixels that a student sees for it
therefore always belong together, whatever the batch, its order, the process or the device.
A policy says what the function is: a list of steps, typed as `crop+flip+cutout:16`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from ..errors import CacheError, CacheMismatch, UsageError, command
from . import resize
from .contract import CropStep, MixStep, PixelStep, Step
from .draws import Draws, send
from .mixing import Mixing, mix, plan
from .resize import Sources, crop_resize, frame, sizes_of, some
from .spec import read
from .subbatch import in_parts

VIEW_VERSION = 1
"""Version of the views in caches of format 1, which had only `none`, `crop` and `crop-flip`."""

POLICIES = ("none", "crop", "crop-flip")
"""Policies of caches of format 1."""

_AGAIN = command("export-logits", remark="by this version of ltkd")

Size = tuple[int, int]
"""Height and width in pixels."""


@dataclass(frozen=True)
class Policy:
    """How the pixels of a view follow from its number: steps, and the seed of their draws.

    `Policy(text)` reads a list of steps, joined by `+`, or a short name, which may also be one
    item of the list. UsageError where a step does not exist, has an argument that it cannot
    take or stands where it cannot stand. Equal policies give equal pixels.
    """

    spec: str
    """The steps in their one spelling, with all arguments."""
    seed: int = 0

    def __post_init__(self) -> None:
        """Reads the text, and keeps one spelling of it."""
        texts = [step.text for step in read(self.spec)]
        object.__setattr__(self, "spec", "+".join(texts) or "none")

    @cached_property
    def steps(self) -> tuple[Step, ...]:
        """The steps in order."""
        return read(self.spec)

    @property
    def crop(self) -> CropStep | None:
        """The step that cuts out of photographs, where the policy has one."""
        return next((step for step in self.steps if isinstance(step, CropStep)), None)

    @property
    def pixel_steps(self) -> list[PixelStep]:
        """The steps that keep the size of an image."""
        return [step for step in self.steps if isinstance(step, PixelStep)]

    @property
    def mix_steps(self) -> list[MixStep]:
        """The steps that mix images."""
        return [step for step in self.steps if isinstance(step, MixStep)]

    @property
    def is_mixed(self) -> bool:
        """Whether views can be mixtures of two images."""
        return bool(self.mix_steps)

    @cached_property
    def unmixed(self) -> Policy:
        """The same without the steps that mix: views of it are what is mixed."""
        texts = [step.text for step in self.steps if step not in self.mix_steps]
        return Policy("+".join(texts) or "none", self.seed)

    @property
    def has_views(self) -> bool:
        """Whether views differ from each other at all."""
        return bool(self.steps)

    @property
    def margin(self) -> float:
        """Short side of a photograph before the centre of its clean view is cropped, by output.

        256 for an output of 224 where training cuts parts out of photographs, as it is evaluated
        everywhere; else the whole short side is seen.
        """
        return resize.MARGIN if self.crop else 1.0

    @property
    def versions(self) -> dict[str, int]:
        """Version of every step, and of resizing photographs."""
        return {"resize": resize.VERSION, **{step.name(): step.version for step in self.steps}}

    def as_json(self) -> dict[str, Any]:
        """What a cache keeps of the policy."""
        return {"spec": self.spec, "seed": self.seed, "versions": self.versions}

    @classmethod
    def from_json(cls, record: Any, source: str) -> Policy:
        """The policy that the file `source` was made with.

        CacheMismatch where a step has another version here, or does not exist, since the
        pixels that the file speaks of cannot be made; CacheError where the record is none.
        """
        spec, seed, versions = _checked(record, source)
        try:
            policy = cls(spec, seed)
        except UsageError as error:
            raise CacheMismatch(
                f"{source} holds outputs for views of policy {spec}. {error.problem}",
                _AGAIN,
            ) from None
        for name, version in policy.versions.items():
            if versions.get(name) != version:
                raise CacheMismatch(
                    f"{source} holds outputs for pixels of {name} version {versions.get(name)}; "
                    f"this ltkd makes those of version {version}.",
                    _AGAIN,
                )
        return policy

    @property
    def name(self) -> str:
        """The name that caches of format 1 have for the policy; its spec where they have none."""
        return "crop-flip" if self.spec == "crop+flip" else self.spec


def frame_views(
    sources: Sources, rows: Tensor, views: Tensor, policy: Policy, size: Size
) -> Tensor:
    """What a policy shows of each source image, before any other step: uint8 [B, 3, *size].

    `rows` and `views` are int64 [B]. Where the policy has rrc, views other than 0 are cut out
    at random; all else is the clean view.
    """
    crop = policy.crop
    chosen = (views != 0).nonzero()[:, 0]
    if crop is None or not len(chosen):
        return frame(sources, size, policy.margin)
    cut = some(sources, chosen)
    draws = Draws(policy.seed, rows[chosen], views[chosen]).of(crop.name())
    shown = crop_resize(cut, crop.boxes(*sizes_of(cut), draws), size)
    rest = (views == 0).nonzero()[:, 0]
    if not len(rest):
        return shown
    clean = frame(some(sources, rest), size, policy.margin)
    order = torch.cat([chosen, rest]).argsort()
    return torch.cat([shown, clean])[send(order, shown.device)]


def augment(images: Tensor, rows: Tensor, views: Tensor, policy: Policy) -> Tensor:
    """All steps but rrc and mixing, on images uint8 [B, 3, H, W]; view 0 stays as it is.

    `rows` and `views` are int64 [B] on the host; the images may be on any device.
    """
    steps = policy.pixel_steps
    chosen = (views != 0).nonzero()[:, 0]
    if not steps or not len(chosen):
        return images
    if len(chosen) < len(views):
        there = send(chosen, images.device)
        changed = augment(images[there], rows[chosen], views[chosen], policy)
        return images.index_copy(0, there, changed)
    return in_parts(images, lambda part: _changed(images[part], rows[part], views[part], policy))


def _changed(images: Tensor, rows: Tensor, views: Tensor, policy: Policy) -> Tensor:
    """All steps on images of which every one is changed."""
    draws = Draws(policy.seed, rows, views)
    for step in policy.pixel_steps:
        images = step.apply(images, draws.of(step.name()))
    return images


def view(
    images: Sources, rows: Tensor, views: Tensor, policy: Policy, size: Size | None = None
) -> Tensor:
    """The given views of images: uint8 [B, 3, *size], by default of the images' own size.

    `rows` and `views` are int64 [B]; they are drawn from on the host, and are best there.
    View 0 is the clean image. ValueError for a policy that mixes: see `render`.
    """
    if policy.is_mixed:
        raise ValueError(f"views of {policy.spec} need the pixels of their partners")
    return _unmixed(images, rows.cpu(), views.cpu(), policy, size)


@dataclass(frozen=True)
class Mixed:
    """Views of a batch, of which some may be mixtures."""

    images: Tensor
    """uint8 [B, 3, H, W]."""
    partner_rows: Tensor
    """int64 [B] on the host; an image's own row where it is not mixed."""
    shares: Tensor
    """float32 [B] on the host: the image's own share, 1 where it is not mixed."""


def mixing(rows: Tensor, views: Tensor, policy: Policy, total: int, size: Size) -> Mixing:
    """Partners, shares and boxes of views of a set of `total` rows, on the host."""
    return plan(policy.mix_steps, Draws(policy.seed, rows.cpu(), views.cpu()), total, size)


def sources_of(
    rows: Tensor, views: Tensor, policy: Policy, total: int, size: Size
) -> tuple[Tensor, Tensor]:
    """Rows and views whose frames the views of a batch need: their own, then partners' of mixed.

    What `frame_views` shows of them is what `finish` takes.
    """
    if not policy.is_mixed:
        return rows, views
    mixed = mixing(rows, views, policy, total, size)
    places = mixed.mixed.nonzero()[:, 0]
    return torch.cat([rows, mixed.partner_rows[places]]), torch.cat([views, views[places]])


def finish(frames: Tensor, rows: Tensor, views: Tensor, policy: Policy, total: int) -> Mixed:
    """The views of a batch from the frames of `sources_of`: uint8 [B + M, 3, H, W] on any device.

    `rows` and `views` are those of the batch, int64 [B] on the host.
    """
    if not policy.is_mixed:
        return Mixed(augment(frames, rows, views, policy), rows, torch.ones(len(rows)))
    size = (frames.shape[2], frames.shape[3])
    mixed = mixing(rows, views, policy, total, size)
    places = mixed.mixed.nonzero()[:, 0]
    all_rows = torch.cat([rows, mixed.partner_rows[places]])
    images = augment(frames, all_rows, torch.cat([views, views[places]]), policy)
    images, partners = images[: len(rows)], images[len(rows) :]
    if len(places):
        there = send(places, images.device)
        images = images.index_copy(0, there, mix(images[there], partners, mixed))
    return Mixed(images, mixed.partner_rows, mixed.shares)


def render(
    gather: Callable[[Tensor], Sources],
    rows: Tensor,
    views: Tensor,
    policy: Policy,
    total: int,
    size: Size | None = None,
) -> Mixed:
    """The given views of rows of a set of `total` images, mixed where the policy says so.

    `gather` gives the pixels of rows, int64 on the host as `rows` and `views` are. Both sides
    of a mixture are views of the same number, each of its own row, and are mixed last. Sources
    of their own sizes need the `size` of what is shown.
    """
    images = gather(rows)
    size = _size_of(images) if size is None else size
    frames = frame_views(images, rows, views, policy, size)
    all_rows, all_views = sources_of(rows, views, policy, total, size)
    if len(all_rows) > len(rows):
        own = slice(len(rows), None)
        partners = frame_views(gather(all_rows[own]), all_rows[own], all_views[own], policy, size)
        frames = torch.cat([frames, partners.to(frames.device)])
    return finish(frames, rows, views, policy, total)


def to_float(images: Tensor) -> Tensor:
    """uint8 [B, 3, H, W] -> float32 in [0, 1], channels last in memory."""
    return images.to(torch.float32, memory_format=torch.channels_last).div_(255)


def _unmixed(
    images: Sources, rows: Tensor, views: Tensor, policy: Policy, size: Size | None
) -> Tensor:
    """The given views before any mixing."""
    size = _size_of(images) if size is None else size
    return augment(frame_views(images, rows, views, policy, size), rows, views, policy)


def _size_of(images: Sources) -> Size:
    """Height and width of images of one size; ValueError where they have their own."""
    if not isinstance(images, Tensor):
        raise ValueError("images of their own sizes need an output size")
    return images.shape[2], images.shape[3]


def _checked(record: Any, source: str) -> tuple[str, int, Mapping[str, Any]]:
    """The parts of what `as_json` wrote; CacheError where they are not of their types."""
    if isinstance(record, Mapping):
        parts = record.get("spec"), record.get("seed"), record.get("versions")
        spec, seed, versions = parts
        if isinstance(spec, str) and type(seed) is int and isinstance(versions, Mapping):
            return spec, seed, versions
    raise CacheError(f"{source} does not say which views its outputs are for.", _AGAIN)
