"""The search behind the defaults of `krdistill`, on validation images and never on the test set.

    python -m benchmarks.krdistill --data PATH/TO/FOLDER --student resnet20 --epochs 10

Holds 250 images of each class out of the training set before the long tail is made, trains one
ce teacher of 20 epochs on the rest, exports its cache, trains one student for each variant,
and prints the accuracies on the images that were held out.
"""

from __future__ import annotations

from dataclasses import replace

from benchmarks import cifar10_lt as table
from benchmarks import timing
from benchmarks.cifar10_lt import SPLITS, Row

HELD_OUT = 250
"""Images of each class."""

TEACHER_EPOCHS = 20

VARIANTS: dict[str, tuple[str, ...]] = {
    "neither half": (*table.NO_LOGIT_HALF, *table.NO_FEATURE_HALF),
    "logits only": table.NO_FEATURE_HALF,
    "features only, weight 40": (*table.NO_LOGIT_HALF, "representation_weight=40"),
    "the same, cosine head": (*table.NO_LOGIT_HALF, "representation_weight=40", "head=cosine:20"),
    "the same, pull 0": (*table.NO_LOGIT_HALF, "representation_weight=40", "pull=0"),
    "the same, pull 1, class means": (
        *(*table.NO_LOGIT_HALF, "representation_weight=40"),
        *("pull=1", "target=class-mean"),
    ),
    "both, weight 40": ("representation_weight=40",),
    "both, weight 100": ("representation_weight=100",),
}
"""Name -> options of the method; `head=` stands for the student's last layer."""


def main() -> None:
    """Reads the command line, trains what is missing and prints the table."""
    settings, arguments = table.read_settings(__doc__)
    settings = replace(
        settings,
        runs=settings.runs / "krdistill-search",  # its teachers are not those of the other tables
        images=(*settings.images, "--validation", str(HELD_OUT)),
    )
    seeds = arguments.seeds
    if not arguments.table_only:
        of_teacher = ("--recipe", arguments.recipe, "--epochs", str(TEACHER_EPOCHS))
        teaching = replace(settings, recipe=of_teacher)
        table.in_parallel(settings, [table.teach(teaching, "ce", seed) for seed in seeds])
        table.in_parallel(settings, [table.export(settings, "ce", seed) for seed in seeds])
        cells = [table.cell(settings, row, seed) for row in rows() for seed in seeds]
        table.in_parallel(settings, cells)
    kept = {}
    print("| variant | all | head | medium | tail |\n|---|---|---|---|---|")
    for name, row in zip(VARIANTS, rows(), strict=True):
        for seed in seeds:
            record = table.finished(settings, f"{row.stem()}-{seed}")
            if record:
                scores = record["validation_scores"]
                cells_of = (f"{100 * scores[split]['accuracy']:.1f}" for split in SPLITS)
                print(f"| {name} | {' | '.join(cells_of)} |")
                kept[f"{name}, seed {seed}"] = {**table.summary(record), "validation": scores}
    if arguments.output:
        timing.write(arguments.output, kept)


def rows() -> list[Row]:
    """A row for each variant."""
    return [variant(name, options) for name, options in VARIANTS.items()]


def variant(name: str, options: tuple[str, ...]) -> Row:
    """One variant as a row of the driver."""
    arguments: list[str] = []
    for option in options:
        head = option.removeprefix("head=")
        arguments += ["--head", head] if head != option else ["--set", option]
    return Row(f"variant {name}", ("--method", "krdistill", *arguments), ("ce",))


if __name__ == "__main__":
    main()
