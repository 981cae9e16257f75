"""What run.json and caches say of where they come from: machine, images, teachers."""

from __future__ import annotations

import dataclasses
import hashlib
import platform
from importlib.metadata import version
from typing import Any

import numpy as np
import torch

from .. import __version__, devices
from ..cache import Cache
from ..data import Data, ImageSet
from ..views.policy import VIEW_VERSION, Policy
from . import caches as teacher_caches

SETTING = ("teacher_setting", "policy", "view_version", "autocast")
"""Attributes of a cache that a run's identity needs; caches of 0.1.0 lack the first."""

ORIGIN = ("teacher_runs", "teacher_outputs", "teacher_weights")
"""Attributes of caches of several runs, of outputs from elsewhere, and of a file of weights."""


def environment(device: torch.device) -> dict[str, str]:
    """Versions and machine that a result may depend on."""
    return {
        "ltkd": __version__,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "torchvision": version("torchvision"),
        "numpy": np.__version__,
        "platform": platform.platform(),
        "device": devices.describe(device),
    }


def data_record(data: Data) -> dict[str, Any]:
    """The images that a run was trained and scored on."""
    return {
        "name": data.name,
        "train": data.train.fingerprint,
        "test": data.test.fingerprint,
        "test_split": data.test.split,
        "validation": data.validation.fingerprint if data.validation else None,
        "class_names": list(data.train.class_names),
        "class_counts": data.train.class_counts(),
        "groups": dataclasses.asdict(data.groups),
    }


def about_images(data: Data, policy: Policy, scored: ImageSet) -> dict[str, Any]:
    """Attributes of a cache; `scored` are the images that the teacher's scores are of."""
    return {
        "image_set": data.name,
        "fingerprint": data.train.fingerprint,
        "class_names": list(data.train.class_names),
        "class_counts": data.train.class_counts(),
        "data_spec": dataclasses.asdict(data.spec),
        "groups": dataclasses.asdict(data.groups),
        "test_split": scored.split,
        "test_fingerprint": scored.fingerprint,
        "policy": policy.as_json(),
        "view_policy": policy.name,
        "view_seed": policy.seed,
        "view_version": VIEW_VERSION,
    }


def parent_record(cache: Cache) -> dict[str, Any]:
    """A teacher, by its cache, with the hashes that tell it from any other."""
    names = (
        "fingerprint",
        "teacher_run",
        "teacher_sha256",
        "teacher_method",
        "view_policy",
        "view_seed",
    )
    return {
        "kind": "cache",
        "path": str(cache.path),
        "crc_sha256": crc_sha256(cache),
        "teacher_model": cache.attributes["teacher_model"]["name"],
        "views_per_image": teacher_caches.views_per_image(cache)[0],
        "dtype": cache.layout.dtype,
        "features": cache.layout.width > 0,
        **{name: cache.attributes[name] for name in names},
        **{name: cache.attributes.get(name) for name in SETTING},
        **{name: cache.attributes[name] for name in ORIGIN if name in cache.attributes},
    }


def crc_sha256(cache: Cache) -> str:
    """SHA-256 of the checksums of all entries: equal for equal outputs."""
    return hashlib.sha256(cache.tensor("crc").numpy().tobytes()).hexdigest()
