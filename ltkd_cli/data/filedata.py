"""From the splits that a reader found to the data that training needs."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch

from ..errors import DataError, UsageError
from .checks import Marked, warnings_of
from .contents import Progress
from .decode import dimensions, quietly, short_side
from .decoded import open_images
from .decodedfile import DecodedFile
from .failures import name_some
from .files import EncodedImages, Listing
from .groups import group_classes
from .heldout import SPLIT, hold_out
from .imageset import Data, DataSpec, Images, ImageSet, digest, fingerprint
from .longtail import rows_of_spec
from .splits import Splits, empty_classes
from .statistics import Statistics, channel_statistics
from .store import remembered

LARGEST_SMALL_SIZE = 64
"""Images up to this many pixels keep their size; larger ones are photographs."""

PHOTOGRAPH_SIZE = 224
"""Pixels that photographs are resized to: what ImageNet networks were trained on."""


def data_of_splits(splits: Splits, progress: Progress | None) -> Data:
    """The data of the splits that a reader found, made long-tailed where the spec asks for it.

    Only files that are trained or tested on are read. DataError where some cannot be, or where
    a class has no training image.
    """
    spec = splits.spec
    if empty := empty_classes(splits.train):
        raise DataError(
            f"Classes without a training image in {splits.train.root}: {name_some(empty)}.",
            splits.filling,
        )
    subset = long_tailed(splits.train, spec)
    train, held = hold_out(subset, spec)
    validation = _validation(splits, held)
    listings = [train, splits.test, *([validation] if validation else [])]
    encoded = [listing.open() for listing in listings]
    for each in encoded:
        each.contents(progress)
    size = spec.image_size or own_size(encoded[0])
    if spec.short_side is not None and spec.short_side < size:
        raise UsageError(
            f"A short side of {spec.short_side} pixels is below the image size, {size} pixels.",
            f"--short-side {short_side(size)}, or --image-size {spec.short_side}",
        )
    stores = [_store(each, size, spec) for each in encoded]
    images, kept = open_images(train.name, stores, spec.store, progress)
    sets = [_image_set(*parts) for parts in zip(listings, stores, images, strict=True)]
    mean, std = _statistics(stores[0], images[0])
    marked = [Marked(a, b.contents()) for a, b in zip(listings, encoded, strict=True)]
    return Data(
        spec=replace(spec, image_size=size),
        name=train.name,
        train=sets[0],
        test=sets[1],
        groups=group_classes(np.bincount(subset.labels).tolist(), spec.groups),
        mean=mean,
        std=std,
        views="crop-flip" if stores[0].uniform else "rrc+flip",
        validation=None if validation is None else sets[2],
        warnings=(*splits.warnings, *warnings_of(train.name, marked)),
        kept=kept,
    )


def training_listing(splits: Splits) -> Listing:
    """The training images of `data_of_splits`, in row order."""
    return hold_out(long_tailed(splits.train, splits.spec), splits.spec)[0]


def _validation(splits: Splits, held: Listing | None) -> Listing | None:
    """The validation split: what the set brings along, or what was held out."""
    if held is None:
        return splits.validation and replace(splits.validation, split=SPLIT)
    if splits.validation is not None:
        raise UsageError(
            f"{splits.spec.data} has a validation split of its own, so none is held out.",
            "leave out --validation",
        )
    return replace(held, split=SPLIT)


def long_tailed(listing: Listing, spec: DataSpec) -> Listing:
    """The long-tailed subset that the spec asks for, if it asks for one."""
    rows = rows_of_spec(listing.labels, len(listing.class_names), spec)
    return listing if rows is None else listing.take(rows)


def _store(encoded: EncodedImages, size: int, spec: DataSpec) -> DecodedFile:
    """Where and how the decoded images of a split are kept."""
    name = f"{encoded.version}-squares-{size}"
    uniform = bool(remembered(name, 1, lambda: [int(_are_squares(encoded, size))])[0])
    short = short_side(size) if uniform else spec.short_side or short_side(size)
    return DecodedFile(encoded, size, short, uniform=uniform)


def _are_squares(encoded: EncodedImages, size: int) -> bool:
    """Whether all images that have a readable header are of that size, by their headers."""
    with quietly():
        found = (dimensions(encoded.file(row), encoded.name(row)) for row in range(len(encoded)))
        return all(each in (None, (size, size)) for each in found)


def _image_set(listing: Listing, stored: DecodedFile, images: Images) -> ImageSet:
    labels, names, encoded = torch.from_numpy(listing.labels), listing.class_names, stored.files
    mark = fingerprint(encoded.identity(stored.kind), labels, names, images.size)

    def earlier() -> str:
        identity = encoded.identity_v1() if stored.uniform else None
        return mark if identity is None else fingerprint(identity, labels, names, images.size)

    return ImageSet(listing.name, listing.split, images, labels, names, mark, earlier)


def own_size(encoded: EncodedImages) -> int:
    """The common size of small images, or the usual size of photographs."""
    return int(remembered(f"{encoded.version}-size", 1, lambda: [_find_size(encoded)])[0])


def _find_size(encoded: EncodedImages) -> int:
    common: tuple[int, int] | None = None
    with quietly():
        for row in range(len(encoded)):
            found = dimensions(encoded.file(row), encoded.name(row))
            if found is None:
                continue
            if max(found) > LARGEST_SMALL_SIZE or found != (common or found):
                return PHOTOGRAPH_SIZE
            common = found
    return min(common) if common else PHOTOGRAPH_SIZE


def _statistics(stored: DecodedFile, images: Images) -> Statistics:
    def find() -> list[float]:
        mean, std = channel_statistics(images)
        return [*mean, *std]

    decoded = digest(stored.kind.encode(), stored.files.version.encode())
    red, green, blue, *std = remembered(f"{decoded}-{images.size[0]}-statistics", 6, find)
    return (red, green, blue), (std[0], std[1], std[2])
