"""Good files that do not belong together: refused, or the command says what differs."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from random import Random

from benchmarks.faults import story
from benchmarks.faults.calling import call, refused
from benchmarks.faults.children import Case, killed_at, outcomes
from benchmarks.faults.forging import forge_attributes
from benchmarks.faults.story import DISTILL, EXPORT, TEACH, TINY, Place, ok
from ltkd_cli.cache import Cache

TEACHER, OTHER, STUDENT = Path("runs/teacher"), Path("runs/other"), Path("runs/student")


@dataclass(frozen=True)
class Pair:
    """Two things that do not fit, made in a copy of the story, and the command that meets them."""

    name: str
    make: Callable[[], object]
    command: tuple[object, ...]
    codes: tuple[int, ...] = (3,)
    """That it must end with; with 0 it must warn."""


def all_pairs() -> list[Pair]:
    """Every pair."""
    evaluate, rebalance = ("eval", "teacher"), ("rebalance", "teacher", "--strategy", "tau-norm")
    return [
        *(
            Pair(f"{name} of another run, {command[0]}", _swapped(name), command, (4,))
            for name in ("model.safetensors", "run.json")
            for command in (evaluate, EXPORT, rebalance)
        ),
        Pair("weights of a student as the teacher's", _taken(STUDENT, TEACHER), evaluate, (4,)),
        Pair("a training state of another run", _foreign_state, _resume("teach"), (4,)),
        Pair("images replaced, distill", _replaced("train"), _with_images(DISTILL)),
        Pair("images replaced, rebalance", _replaced("train"), rebalance),
        Pair("images replaced, export-logits", _replaced("train"), EXPORT, (0, 3)),
        Pair("test images replaced, eval", _replaced("test"), evaluate, (0,)),
        Pair("training images replaced, resume", _stopped_then("train"), _resume("teach")),
        Pair("test images replaced, resume", _stopped_then("test"), _resume("teach")),
        Pair("classes renamed, distill", _renamed, _with_images(DISTILL)),
        Pair("classes renamed, eval", _renamed, evaluate),
        Pair("classes renamed, export-logits", _renamed, EXPORT),
        Pair("a class that is gone, eval", _without_owls, evaluate),
        Pair("a cache of other classes", _forged(class_names=["dog", "cat", "owl"]), DISTILL),
        Pair("a cache of other images", _forged(fingerprint="f" * 64), DISTILL),
        Pair("a cache of other views", _of_step_9, DISTILL),
        Pair("the cache of another teacher, resume", _other_cache, _resume("distill")),
        Pair("a cache with other outputs, resume", _other_views, _resume("distill")),
        Pair("a partial file of another teacher", _begun("other"), EXPORT),
        Pair("a partial file of another policy", _begun("teacher", "--policy", "flip"), EXPORT),
        Pair("a partial file of another type", _begun("teacher", "--dtype", "uint8"), EXPORT),
        Pair("a partial file of other views", _begun("teacher", "--view-seed", 3), EXPORT),
        Pair("a partial file of the user's own", _mine, EXPORT, (1, 3, 4)),
        Pair("another cache under the name", lambda: shutil.copy("other.h5", "mine.h5"), EXPORT),
        Pair(
            "caches of two policies",
            lambda: ok(call("export-logits", "other", "--policy", "flip", "--output", "flip.h5")),
            ("distill", "--method", "kd", "--cache", "cache.h5", "--cache", "flip.h5", *TINY),
        ),
        Pair(
            "one cache by two paths",
            lambda: Path("link.h5").symlink_to("cache.h5"),
            ("distill", "--method", "kd", "--cache", "cache.h5", "--cache", "link.h5", *TINY),
            (2,),
        ),
        Pair(
            "caches of two image sets",
            _of_flowers,
            ("distill", "--method", "kd", "--cache", "cache.h5", "--cache", "flowers.h5", *TINY),
        ),
        Pair("a cache without features for cbd", _without_features, _method("cbd", "bare.h5")),
        Pair("a teacher without a cosine head", lambda: None, _method("cbd", "cache.h5"), (0,)),
        Pair("runs of two image sets in one table", _of_flowers, ("eval", "1", "teacher"), (0, 3)),
    ]


def wrong_pairs(place: Place, random: Random, share: float) -> Iterator[tuple[str, str]]:
    """Name of each pair, and what is wrong with the answer to it."""
    pairs = [pair for pair in all_pairs() if random.random() < share]
    cases = [Case(pair.name, lambda pair=pair: _tried(place, pair)) for pair in pairs]
    yield from zip((pair.name for pair in pairs), outcomes(cases, 60.0), strict=True)


def _tried(place: Place, pair: Pair) -> str:
    folder = place.copy("pair")
    story.enter(folder)
    _own_images(folder)
    pair.make()
    said = call(*pair.command)
    if said.code == 0 and 0 in pair.codes:
        return "" if "warning" in said.err else "no warning"
    return refused(said, pair.codes)


def _own_images(folder: Path) -> None:
    """Lets the story speak of the images in this very folder, which may be changed."""
    told = str(folder.parents[1] / "told")
    for name in ("teacher", "other", "student"):
        story.move_images(folder / "runs" / name, told, str(folder))
    for name in ("cache.h5", "other.h5"):
        spec = Cache.open(folder / name).attributes["data_spec"]
        forge_attributes(folder / name, data_spec={**spec, "data": str(folder / "images")})


def _swapped(name: str) -> Callable[[], object]:
    return lambda: shutil.copy(OTHER / name, TEACHER / name)


def _taken(source: Path, target: Path) -> Callable[[], object]:
    return lambda: shutil.copy(source / "model.safetensors", target / "model.safetensors")


def _stopped(*command: object, name: str = "mine", moment: int = 50) -> None:
    assert killed_at(moment, lambda: call(*command, "--name", name))


def _foreign_state() -> None:
    _stopped(*TEACH)
    _stopped(*TEACH, name="second")
    shutil.copy("runs/second/state.pt", "runs/mine/state.pt")


def _resume(command: str) -> tuple[str, ...]:
    return (command, "--resume", "mine")


def _with_images(command: tuple[object, ...]) -> tuple[object, ...]:
    return (*command, "--data", "images")


def _method(name: str, cache: str) -> tuple[object, ...]:
    return ("distill", "--method", name, "--cache", cache, *TINY)


def _replaced(split: str) -> Callable[[], object]:
    """Other images of the same size in the same places."""

    def make() -> None:
        for number, name in enumerate(story.CLASSES):
            count = len(list(Path("images", split, name).iterdir()))
            shutil.rmtree(Path("images", split, name))
            story.write_images(Path("images", split, name), count, (number + 1) % 3)

    return make


def _stopped_then(split: str) -> Callable[[], object]:
    def make() -> None:
        _stopped(*TEACH)
        _replaced(split)()

    return make


def _renamed() -> None:
    for split in ("train", "test"):
        Path("images", split, "cat").rename(Path("images", split, "pug"))


def _without_owls() -> None:
    for split in ("train", "test"):
        shutil.rmtree(Path("images", split, "owl"))


def _forged(**changed: object) -> Callable[[], object]:
    return lambda: forge_attributes(Path("cache.h5"), **changed)


def _of_step_9() -> None:
    held = Cache.open(Path("cache.h5")).attributes["policy"]
    versions = dict.fromkeys(held["versions"], 9)
    forge_attributes(Path("cache.h5"), policy={**held, "versions": versions})


def _other_cache() -> None:
    _stopped(*DISTILL)
    shutil.copy("other.h5", "cache.h5")


def _other_views() -> None:
    _stopped(*DISTILL)
    command = ("export-logits", "teacher", "--views", 2, "--view-seed", 7, "--output", "cache.h5")
    ok(call(*command, "--force"))


def _begun(run: str, *options: object) -> Callable[[], object]:
    command = ("export-logits", run, "--views", 2, "--output", "mine.h5", *options)

    def make() -> None:
        moment = 30
        while True:
            killed = killed_at(moment, lambda: call(*command))
            if killed and Path("mine.h5.partial").exists():
                return
            moment += 2
            if not killed:  # it had fewer calls to make, and has ended
                Path("mine.h5").unlink(missing_ok=True)
                moment = 1

    return make


def _mine() -> None:
    Path("mine.h5.partial").write_text("the only copy of my thesis")


def _of_flowers() -> None:
    for split in ("train", "test"):
        for number, name in enumerate(("aster", "iris", "lily")):
            story.write_images(Path("flowers", split, name), 4, number)
    ok(call("teach", "--data", "flowers", *TINY, "--name", "0001-flowers"))
    ok(call("export-logits", "0001-flowers", "--views", 2, "--output", "flowers.h5"))


def _without_features() -> None:
    ok(call("export-logits", "teacher", "--views", 2, "--no-features", "--output", "bare.h5"))
