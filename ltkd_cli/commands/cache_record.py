"""What every cache says of its images and views, whoever the teacher is."""

from __future__ import annotations

import dataclasses
from typing import Any

from ..data import Data, ImageSet
from ..views.policy import VIEW_VERSION, Policy


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
