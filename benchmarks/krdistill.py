"""The search behind the defaults of `krdistill`, on validation images and never on the test set.

    python -m benchmarks.krdistill --data PATH/TO/FOLDER --seeds 0 --workers 2

Holds 250 images of each class out of training, trains one ResNet-32 teacher by ce on the rest,
exports its cache, trains one ResNet-20 student for each variant, both by the recipe `short`, and
prints the accuracies on the images that were held out.
"""

from __future__ import annotations

import dataclasses
from typing import Any

from benchmarks import timing, workers
from benchmarks.cells import (
    SPLITS,
    Cell,
    Place,
    Training,
    distill,
    export,
    finished,
    summary,
    teach,
)
from benchmarks.cifar10_lt import parser_of, place_of
from benchmarks.rows import NO_FEATURE_HALF, NO_LOGIT_HALF

HELD_OUT = 250
"""Images of each class."""

TEACHER = Training("ce", "resnet32", "short")
FEATURES: dict[str, Any] = {**NO_LOGIT_HALF, "representation_weight": 40.0}


def variant(head: str = "", **options: Any) -> Training:
    """A student with some options of the method."""
    return Training("krdistill", "resnet20", "short", options=options, head=head)


VARIANTS = {
    "neither half": variant(**NO_LOGIT_HALF, **NO_FEATURE_HALF),
    "logits only": variant(**NO_FEATURE_HALF),
    "features only, weight 40": variant(**FEATURES),
    "the same, cosine head": variant("cosine:20", **FEATURES),
    "the same, pull 0": variant(**FEATURES, pull=0.0),
    "the same, pull 1, class means": variant(**FEATURES, pull=1.0, target="class-mean"),
    "both, weight 40": variant(representation_weight=40.0),
    "both, weight 100": variant(representation_weight=100.0),
}


def main() -> None:
    """Reads the command line, trains what is missing and prints the table."""
    parser = parser_of(__doc__)
    arguments = parser.parse_args()
    place = place_of(arguments)
    place = dataclasses.replace(
        place,
        runs=place.runs / "krdistill-search",  # its teachers are not those of the other tables
        images={**place.images, "validation": HELD_OUT},
    )
    cells = [cell for seed in arguments.seeds for cell in cells_of(place, seed)]
    workers.run(cells, arguments.workers, place.runs / "logs")
    kept = {}
    print("| variant | all | head | medium | tail |\n|---|---|---|---|---|")
    for name in VARIANTS:
        for seed in arguments.seeds:
            record = finished(place, run_name(name, seed))
            assert record
            scores = record["validation_scores"]
            accuracies = (f"{100 * scores[split]['accuracy']:.1f}" for split in SPLITS)
            print(f"| {name} | {' | '.join(accuracies)} |")
            own = summary(place, run_name(name, seed)) or {}
            kept[f"{name}, seed {seed}"] = {**own, "validation": scores}
    if arguments.output:
        timing.write(arguments.output, kept)


def cells_of(place: Place, seed: int) -> list[Cell]:
    """The teacher of a seed, its cache, and a student for each variant."""
    name = f"teacher-ce-{seed}"
    students = [
        distill(place, run_name(variant, seed), training, seed, [name])
        for variant, training in VARIANTS.items()
    ]
    return [teach(place, name, TEACHER, seed), export(place, name), *students]


def run_name(variant: str, seed: int) -> str:
    """Name of a student's run."""
    return f"{variant.replace(', ', '-').replace(' ', '-')}-{seed}"


if __name__ == "__main__":
    main()
