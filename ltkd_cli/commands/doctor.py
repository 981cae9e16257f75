"""`doctor`: what is wrong or odd about an image set, before hours are spent on it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

import numpy as np

from ..data import DataSpec, check, find, has_files, load
from ..data.checks import TEST, TRAIN, Marked, Same, mark, same_images
from ..data.contents import Progress
from ..data.failures import Failure, advised, name_some
from ..data.filedata import LARGEST_SMALL_SIZE, long_tailed, own_size
from ..data.files import EncodedImages, Listing
from ..data.groups import Groups, group_classes
from ..data.inspection import DEEP, GREY, Inspected, inspect
from ..metrics import wilson
from ..splits import GROUP_NAMES
from .checks import FOR_PHOTOGRAPHS

FEW_TRAINING = 5
"""Fewer training images than this are near to none: no view of them shows the class's variety."""

FEW_TEST = 10
"""With fewer test images than this, one image more or less is ten points of a class's accuracy."""

EXTREME_ASPECT = 3.0
"""Beyond it the square in the centre, which the clean view shows, is a third of the image."""

FEW_TINY = 0.1
"""Share of all images up to which tiny ones are better left out than all shown smaller."""

SMALLEST_SHARE = 0.05
"""Of all images, whose short sides do not count where a size that suits the others is advised."""

EXAMPLES = 100
"""Images that a finding lists."""


@dataclass(frozen=True)
class Finding:
    """Something about an image set that its owner should know."""

    kind: str
    """One word for programs."""
    serious: bool
    """Whether results on the set would be wrong or incomplete because of it."""
    text: str
    advice: str = ""
    images: tuple[str, ...] = ()
    """Some of the images that it is about."""


@dataclass(frozen=True)
class Examined:
    """An image set and what was found."""

    name: str
    class_names: tuple[str, ...]
    images: dict[str, int]
    """Number of images of every split."""
    train_counts: tuple[int, ...]
    test_counts: tuple[int, ...]
    groups: Groups
    tail_interval: tuple[float, float] | None
    """The 95 % interval of a tail accuracy of 50 %; None where it has no test image."""
    findings: tuple[Finding, ...]

    @property
    def problems(self) -> list[Finding]:
        """What matters."""
        return [finding for finding in self.findings if finding.serious]


def examine(spec: DataSpec, progress: Progress | None = None) -> Examined:
    """Reads every image of a set and says what is wrong; LtkdError where it cannot be found."""
    check(spec)
    if has_files(spec):
        splits = find(spec)
        listings = [long_tailed(splits.train, spec), *list(splits.all())[1:]]
        encoded = [listing.open() for listing in listings]
        marked = [Marked(a, b.contents(progress)) for a, b in zip(listings, encoded, strict=True)]
        found = [Finding("left-out", False, text) for text in splits.warnings]
        found += _of_files(spec, listings, encoded, progress)
        groups = group_classes(_counts(listings[TRAIN]), spec.groups)
        return _examined(marked, groups, found, splits.filling)
    data = load(spec, progress)
    sets = [data.train, data.test, *([data.validation] if data.validation else [])]
    marked = [mark(each) for each in sets]
    return _examined(marked, data.groups, [], "give these classes images")


def _examined(
    marked: Sequence[Marked], groups: Groups, found: list[Finding], filling: str
) -> Examined:
    names = marked[TRAIN].listing.class_names
    train, test = (_counts(marked[split].listing) for split in (TRAIN, TEST))
    interval = _interval([test[c] for c in groups.classes("tail")])
    counted = [
        *_of_classes(names, train, test, filling),
        *_of_same(marked),
        *found,
        *_of_groups(groups, train, test, interval),
    ]
    return Examined(
        name=marked[TRAIN].listing.name,
        class_names=names,
        images={each.listing.split: len(each.contents) for each in marked},
        train_counts=tuple(train),
        test_counts=tuple(test),
        groups=groups,
        tail_interval=interval,
        findings=tuple(sorted(counted, key=lambda finding: not finding.serious)),
    )


def _of_classes(
    names: Sequence[str], train: Sequence[int], test: Sequence[int], filling: str
) -> Iterator[Finding]:
    counts = [*zip(names, train, test, strict=True)]
    empty = [name for name, of_train, _ in counts if of_train == 0]
    untested = [name for name, _, of_test in counts if of_test == 0]
    few = [name for name, of_train, _ in counts if 0 < of_train < FEW_TRAINING]
    barely = [name for name, _, of_test in counts if 0 < of_test < FEW_TEST]
    if empty:
        text = f"Classes without a training image: {name_some(empty)}."
        yield Finding("empty-class", True, text, filling)
    if untested:
        text = f"Classes without a test image, whose accuracy stays unknown: {name_some(untested)}."
        yield Finding("untested-class", True, text, "add test images of them")
    if few:
        text = f"Classes of fewer than {FEW_TRAINING} training images: {name_some(few)}."
        advice = "add images if there are any; no method can show what it has never seen"
        yield Finding("near-empty-class", False, text, advice)
    if barely:
        text = (
            f"Classes of fewer than {FEW_TEST} test images, whose own accuracies say little: "
            f"{len(barely):,} ({name_some(barely)})."
        )
        yield Finding("barely-tested-class", False, text, "report groups, not single classes")


def _of_same(marked: Sequence[Marked]) -> Iterator[Finding]:
    same = same_images(marked)
    kinds: tuple[tuple[str, bool, Callable[[Same], bool], str, str], ...] = (
        (
            "shared",
            True,
            lambda each: len(each.splits()) > 1,
            "Images that lie in more than one split, byte for byte the same, so that a score on "
            "them is no evidence",
            "remove them from all splits but one",
        ),
        (
            "two-labels",
            True,
            lambda each: len(each.labels(marked)) > 1,
            "Images that are in two classes at once, byte for byte the same",
            "decide which class is right",
        ),
        (
            "repeated",
            False,
            lambda each: len(each.splits()) == 1 and len(each.labels(marked)) == 1,
            "Images that are there more than once in one class of one split",
            "remove the copies if they are not meant",
        ),
    )
    for kind, serious, belongs, text, advice in kinds:
        chosen = [each for each in same if belongs(each)]
        if chosen:
            words = tuple(each.in_words(marked) for each in islice(chosen, EXAMPLES))
            said = f"{text}: {len(chosen):,} ({name_some(words[:3])})."
            yield Finding(kind, serious, said, advice, words)


def _of_files(
    spec: DataSpec,
    listings: Sequence[Listing],
    encoded: Sequence[EncodedImages],
    progress: Progress | None,
) -> Iterator[Finding]:
    seen: list[tuple[str, Inspected | Failure]] = []
    total = sum(map(len, encoded))
    for listing, each in zip(listings, encoded, strict=True):

        def report(done: int, of: int, before: int = len(seen)) -> None:
            if progress is not None:
                progress(before + done, total)

        names = [f"{listing.split}/{key}" for key in listing.keys]
        seen += zip(names, inspect(each, report), strict=True)
    failed = [(name, each) for name, each in seen if isinstance(each, Failure)]
    for kind, what in {"unreadable": "cannot be read", "refused": "are sound but refused"}.items():
        of_kind = [(name, each) for name, each in failed if each.sound == (kind == "refused")]
        said = tuple(f"{name} ({each.reason})" for name, each in of_kind)
        if said:
            text = f"Images that {what}: {len(said):,} of {total:,} ({name_some(said)})."
            yield Finding(kind, True, text, advised([e for _, e in of_kind]), said[:EXAMPLES])
    size = spec.image_size or own_size(encoded[TRAIN])
    if size > LARGEST_SMALL_SIZE:
        text = f"Images are shown at {size} pixels; the default networks are made for 32."
        yield Finding("network", False, text, " ".join(FOR_PHOTOGRAPHS))
    yield from _of_odd([(n, each) for n, each in seen if isinstance(each, Inspected)], size)


def _of_odd(seen: Sequence[tuple[str, Inspected]], size: int) -> Iterator[Finding]:
    """Findings about images that are read, but not as their owner may think; `size` in pixels."""
    grey = sum(each.mode in GREY for _, each in seen)
    kinds: tuple[tuple[str, Callable[[Inspected], bool], str, str], ...] = (
        (
            "tiny",
            lambda each: 2 * each.short < size,
            f"that are enlarged more than twofold, to {size} pixels",
            _about_tiny([each.short for _, each in seen], size),
        ),
        (
            "elongated",
            lambda each: each.aspect > EXTREME_ASPECT,
            f"more than {EXTREME_ASPECT:g} times as long as wide, of which tests see only the "
            "square in the centre",
            "crop them to what matters",
        ),
        (
            "grey",
            lambda each: each.mode in GREY and grey < len(seen),
            "in grey among images in colour",
            "check that it is not the class that decides which are grey",
        ),
        ("cmyk", lambda each: each.mode == "CMYK", "in CMYK, converted without a profile", ""),
        (
            "deep",
            lambda each: each.mode in DEEP,
            "of more than 8 bits a channel, of which the upper 8 are used",
            "scale them to 8 bits yourself if their values fill only a part of the range",
        ),
        (
            "animated",
            lambda each: each.frames > 1,
            "of several frames, of which the first is used",
            "",
        ),
    )
    for kind, belongs, text, advice in kinds:
        names = tuple(name for name, each in seen if belongs(each))
        if names:
            said = f"Images {text}: {len(names):,} of {len(seen):,} ({name_some(names[:3])})."
            yield Finding(kind, False, said, advice, names[:EXAMPLES])


def _about_tiny(sides: Sequence[int], size: int) -> str:
    """What to do about tiny images among those with these short sides, in pixels."""
    if sum(2 * short < size for short in sides) <= FEW_TINY * len(sides):
        return "leave them out"
    return f"--image-size {int(np.quantile(sides, SMALLEST_SHARE, method='lower'))}"


def _of_groups(
    groups: Groups,
    train: Sequence[int],
    test: Sequence[int],
    interval: tuple[float, float] | None,
) -> Iterator[Finding]:
    counted = group_classes(train, "counts")
    missing = [name for name in GROUP_NAMES if not counted.classes(name)]
    if missing and groups.rule == "counts":
        text = f"Counting leaves no class in the group {' and '.join(missing)}."
        yield Finding("groups", False, text, "--groups rank")
    elif missing:
        text = (
            f"Counting ({counted.describe()}) would leave no class in the group "
            f"{' and '.join(missing)}, so the groups are {groups.describe()}."
        )
        yield Finding("groups", False, text)
    if interval is not None:
        images = sum(test[c] for c in groups.classes("tail"))
        reach = 50 * (interval[1] - interval[0])
        text = (
            f"The tail's {images:,} test images tell its accuracy to within ±{reach:.1f} points; "
            "smaller differences may be chance."
        )
        yield Finding("tail-interval", False, text, "more test images of these classes")


def _interval(test_counts: Sequence[int]) -> tuple[float, float] | None:
    """The 95 % interval of a mean of class accuracies of one half, for these test images."""
    tested = [count for count in test_counts if count]
    if not tested:
        return None
    return wilson(0.5, len(tested) ** 2 / sum(1 / count for count in tested))


def _counts(listing: Listing) -> list[int]:
    counts: list[int] = np.bincount(listing.labels, minlength=len(listing.class_names)).tolist()
    return counts
