"""From two listings of image files to the data that training needs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch

from .decode import dimensions, quietly
from .decoded import Progress, open_images
from .files import ImageFiles, Listing, image_files
from .groups import group_classes
from .heldout import SPLIT, hold_out
from .imageset import Data, DataSpec, Images, ImageSet, fingerprint
from .longtail import long_tail_rows
from .statistics import Statistics, channel_statistics
from .store import remembered

LARGEST_SMALL_SIZE = 64
"""Images up to this many pixels keep their size; larger ones are photographs."""

PHOTOGRAPH_SIZE = 224
"""Pixels that photographs are resized to: what ImageNet networks were trained on."""


def data_of_listings(
    spec: DataSpec, train: Listing, test: Listing, progress: Progress | None
) -> Data:
    """The data of a training and a test listing, made long-tailed where `spec` asks for it.

    Only files that are trained or tested on are read. DataError where some cannot be.
    """
    subset = _subset(train, spec)
    train, held = hold_out(subset, spec)
    listings = [train, test] if held is None else [train, test, replace(held, split=SPLIT)]
    splits = [image_files(listing) for listing in listings]
    size = spec.image_size or _own_size(splits[0])
    images = open_images(splits, size, progress)
    sets = [_image_set(*parts) for parts in zip(listings, splits, images, strict=True)]
    mean, std = _statistics(splits[0], images[0])
    return Data(
        spec=replace(spec, image_size=size),
        name=train.name,
        train=sets[0],
        test=sets[1],
        groups=group_classes(np.bincount(subset.labels).tolist(), spec.groups),
        mean=mean,
        std=std,
        views="crop-flip",
        validation=None if held is None else sets[2],
    )


def _subset(listing: Listing, spec: DataSpec) -> Listing:
    if spec.imbalance is None:
        return listing
    classes = len(listing.class_names)
    largest = int(np.bincount(listing.labels).max())
    how = (spec.imbalance, spec.imbalance_type, spec.imbalance_seed)
    return listing.take(long_tail_rows(listing.labels, classes, largest, *how))


def _image_set(listing: Listing, files: ImageFiles, images: Images) -> ImageSet:
    labels = torch.from_numpy(listing.labels)
    mark = fingerprint(files.identity, labels, listing.class_names, images.size)
    return ImageSet(listing.name, listing.split, images, labels, listing.class_names, mark)


def _own_size(files: ImageFiles) -> int:
    """The common size of small images, or the usual size of photographs."""
    return int(remembered(f"{files.version}-size", lambda: [_find_size(files.paths)])[0])


def _find_size(paths: Sequence[str]) -> int:
    common: tuple[int, int] | None = None
    with quietly():
        for found in filter(None, map(dimensions, paths)):
            if max(found) > LARGEST_SMALL_SIZE or found != (common or found):
                return PHOTOGRAPH_SIZE
            common = found
    return min(common) if common else PHOTOGRAPH_SIZE


def _statistics(files: ImageFiles, images: Images) -> Statistics:
    def find() -> list[float]:
        mean, std = channel_statistics(images)
        return [*mean, *std]

    name = f"{files.version}-{images.size[0]}-statistics"
    red, green, blue, *std = remembered(name, find)
    return (red, green, blue), (std[0], std[1], std[2])
