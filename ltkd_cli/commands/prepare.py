"""From what a training was given to everything that it needs, checked, before a run is made."""

from __future__ import annotations

import dataclasses
from collections.abc import Generator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from .. import devices, distributed, models
from ..cache import Cache
from ..data import Data, DataSpec, absolute, load
from ..data.decoded import Progress
from ..errors import Hint, MethodError, UsageError, command
from ..events import Event, Note, Warned
from ..methods.contract import Method, Task
from ..methods.finding import find, name_of
from ..methods.options import parse_options
from ..models import ModelSpec, Network
from ..models.network import check as check_network
from ..models.network import own_randomness
from ..models.stages import freeze as freeze_stages
from ..models.weights import Weights, network_with
from ..splits import GROUP_ALIASES, GROUP_NAMES
from ..training.recipe import POLICIES, Recipe
from ..training.recipe import resolve as resolve_recipe
from ..training.residency import CHOICES as RESIDENT
from ..views.policy import Policy
from . import caches as teacher_caches
from . import initial
from .checks import check_mixtures, how_kept, warn_of_images, warn_of_network
from .images import chosen
from .settings import AUGMENTATIONS, Settings, with_images

_JITTERS = frozenset({"jitter", "simclr-jitter"})
"""Steps of a view policy that vary colours as `--augment jitter` does."""


@dataclass(frozen=True)
class Prepared:
    """Everything that a training needs, checked."""

    settings: Settings
    data: Data
    caches: tuple[Cache, ...]
    method: Method
    network: Network
    policy: Policy
    device: torch.device
    source: Path | None = None
    """A cache whose images and views are trained on without its outputs."""
    force: bool = False
    """Whether a teacher was insisted on that is no better than chance."""
    weights: Weights | None = None
    """What the network begins from, where that is a file."""

    def with_seed(self, seed: int) -> Prepared:
        """The same for another seed, with a network and a method of its own."""
        settings = replace(self.settings, seed=seed)
        network, method = _build(settings, type(self.method), self.data, self.caches, self.weights)
        return replace(self, settings=settings, network=network, method=method)


def prepare(
    root: Path,
    kind: str,
    given: dict[str, Any],
    progress: Progress | None = None,
    *,
    force: bool = False,
) -> Generator[Event, None, Prepared]:
    """Fills in what `given` leaves open, and opens and checks all that it names.

    `given` holds fields of Settings, of which only `method` and `model` must be there, with
    `options` as texts NAME=VALUE, and in `data` and `recipe` those fields of a DataSpec and a
    Recipe that were given. The newest cache below `root` teaches where none is named. `progress`
    hears how many images of how many are decoded. `force` insists on a teacher that is no better
    than chance. Raises the LtkdError that matches.
    """
    method = find(given["method"])
    options = parse_options(method, given.get("options", []))
    _check(kind, given, method)
    freeze = given.get("freeze", "")
    initial.check(given)
    sources = yield from _sources(root, kind, given, method)
    if method.needs:
        yield from teacher_caches.refuse_no_better_than_chance(sources, method, force)
    spec = _images(sources, given.get("data", {}))
    preset = given.get("recipe_name") or initial.preset(spec.data, freeze)
    recipe = resolve_recipe(preset, given.get("recipe", {}))
    views, view_seed = given.get("views", ""), 0
    if sources:
        policy = teacher_caches.policy_of(sources)
        _refuse_mixing(recipe, policy, sources[0])
        check_mixtures(policy, method, given.get("classes", "all"), _unmixed(policy, sources))
        views, view_seed = policy.name, policy.seed
    elif kind == "teach" and not views and (views := POLICIES.get(preset, "")):
        yield Note(f"recipe {preset} brings views of {views}; --policy chooses others")
    every = given.get("evaluate_every")
    filled_in = {
        "data": spec,
        "options": options,
        "recipe_name": preset,
        "recipe": recipe,
        "views": views,
        "view_seed": view_seed,
        "caches": tuple(str(cache.path) for cache in sources if method.needs),
        "classes": GROUP_ALIASES.get(given.get("classes", "all"), given.get("classes", "all")),
        "evaluate_every": initial.evaluate_every(recipe.epochs, freeze) if every is None else every,
        "weights": absolute(given["weights"]) if given.get("weights") else "",
    }
    caches = sources if method.needs else ()
    prepared = _open(Settings(**{**given, **filled_in}), method, caches, progress)
    yield from how_kept(prepared.data)
    source = sources[0].path if sources and not caches else None
    prepared = replace(prepared, source=source, force=force)
    yield from initial.introduce(prepared.weights)
    yield from initial.normalisation(prepared.weights, prepared.network.spec)
    yield from teacher_caches.introduce(prepared.caches, method)
    yield from warn_of_images(prepared.data)
    yield from warn_of_network(prepared.settings.model, prepared.data)
    if prepared.settings.augment == "jitter" and _JITTERS & prepared.policy.versions.keys():
        others = (s.text for s in prepared.policy.steps if s.name() not in _JITTERS)
        yield Warned(
            f"The colours of all views vary twice: views of {prepared.policy.name} vary them, and "
            "--augment jitter once more.",
            f"--policy {Policy('+'.join(others) or 'none').name}, or no --augment jitter",
        )
    return prepared


def _images(sources: tuple[Cache, ...], given: dict[str, Any]) -> DataSpec:
    """The images of the first cache, where there is one, with what was given of them."""
    if not sources:
        return with_images(DataSpec(), given)
    return chosen(teacher_caches.data_spec_of(sources[0]), sources[0].attributes, given)


def reopen(settings: Settings, progress: Progress | None = None) -> Prepared:
    """The same for the settings of a run; raises the LtkdError that matches."""
    method = find(settings.method)
    caches = tuple(teacher_caches.open_cache(Path(path)) for path in settings.caches)
    if method.needs and not caches:
        raise MethodError(
            f"Method {settings.method} learns from a teacher, and no cache is given.",
            command("distill", "--method", settings.method),
        )
    return _open(settings, method, caches, progress)


def trained_rows(settings: Settings, data: Data) -> torch.Tensor | None:
    """Rows of the group that an expert is trained on; None where that is every row."""
    group = settings.classes
    if group == "all":
        return None
    wanted = torch.tensor(data.groups.classes(group))
    return torch.nonzero(torch.isin(data.train.labels, wanted)).flatten()


def build_method(
    method_class: type[Method], task: Task, options: dict[str, Any], seed: int
) -> Method:
    """A method whose throw-away layers follow from the seed alone."""
    with own_randomness(seed):
        return method_class(task, **options)


def _check(kind: str, given: dict[str, Any], method: type[Method]) -> None:
    """Raises the error for a request that no image set and no cache could fulfil."""
    name, caches = name_of(method), given.get("caches", [])
    if kind == "teach" and method.needs:
        raise MethodError(
            f"Method {name} learns from a teacher, so it belongs to distill.",
            command("distill", "--method", name),
        )
    if method.head_is_given and given.get("head", "") not in ("", method.head):
        raise MethodError(
            f"The loss of {name} is that of the last layer {method.head}, which it brings along, "
            f"and not of {given['head']}.",
            command(kind, "--method", name),
        )
    if len(caches) > 1 and not method.several_teachers:
        raise MethodError(
            f"Method {name} learns from one teacher, not from {len(caches)}.",
            command("distill", "--method", name, "--cache", caches[0]),
        )
    if len({Path(path).resolve() for path in caches}) < len(caches):
        raise UsageError("The same --cache is given twice.", "name each cache once")
    _check_choice("--augment", given.get("augment", "none"), AUGMENTATIONS)
    _check_choice("--classes", given.get("classes", "all"), ("all", *GROUP_NAMES, *GROUP_ALIASES))


def _check_choice(option: str, value: str, known: Sequence[str]) -> None:
    if value not in known:
        raise UsageError(
            f"{option} takes {', '.join(known)}, not {value!r}.", f"{option} {known[-1]}"
        )


def _sources(
    root: Path, kind: str, given: dict[str, Any], method: type[Method]
) -> Generator[Event, None, tuple[Cache, ...]]:
    """The caches that say which images and views are trained on, opened.

    They teach, too, but for a `distill` whose method needs no teacher: that one takes images and
    view policy of a cache, for a comparison, unless `given` names other images. How many views
    the cache holds does not bind it.
    """
    paths = [Path(path) for path in given.get("caches", [])]
    if method.needs and not paths:
        yield from teacher_caches.warn_of_dates(root)
        paths = [teacher_caches.newest_cache(root)]
        yield Note(f"using the newest cache, {paths[0]}")
    elif kind == "distill" and not method.needs:
        if not paths and "data" not in given.get("data", {}):
            yield from teacher_caches.warn_of_dates(root)
            newest = teacher_caches.find_newest(root)
            paths = [newest] if newest else []
        for path in paths[:1]:
            yield Note(f"{name_of(method)} needs no teacher; training on the images of {path}")
        paths = paths[:1]
    return tuple(teacher_caches.open_cache(path) for path in paths)


def _open(
    settings: Settings,
    method: type[Method],
    caches: tuple[Cache, ...],
    progress: Progress | None,
) -> Prepared:
    """All that the settings name, checked; `caches` are those that teach, opened."""
    _check_choice("--resident", settings.resident, RESIDENT)
    if distributed.size() > 1:
        _check_shared(settings, method)
    device = devices.open_device(settings.device)
    precision = devices.choose_precision(settings.precision, device)
    if settings.views:  # known before any image is decoded
        policy = _policy(settings, settings.views)
        check_mixtures(policy, method, settings.classes, _unmixed(policy, caches))
    check_network(settings.model, settings.head or method.head)
    with distributed.first_alone():  # which decodes what is not decoded yet
        data = load(settings.data, progress)
    _check_group(settings, data)
    for cache in caches:
        teacher_caches.check(cache, data, method)
    policy = _policy(settings, settings.views or data.views)
    check_mixtures(policy, method, settings.classes, _unmixed(policy, caches))
    weights = initial.open_weights(settings)
    network, built = _build(settings, method, data, caches, weights)
    mean, std = (weights and weights.stated) or (None, None)
    resolved = replace(
        settings,
        weights_sha256=weights.sha256 if weights else "",
        mean=mean,
        std=std,
        feature_views=initial.feature_views(settings, policy),
        data=data.spec,
        head=network.spec.head,
        recipe=replace(settings.recipe, mixup=0.0, cutmix=0.0),
        views=policy.name,
        precision=precision,
        processes=distributed.size(),
    )
    return Prepared(resolved, data, caches, built, network, policy, device, weights=weights)


def _check_shared(settings: Settings, method: type[Method]) -> None:
    """UsageError for a training that several processes cannot share."""
    alone, processes = "the same command without torchrun", distributed.size()
    if initial.is_frozen(settings):
        raise UsageError("--freeze computes features and trains a head in one process.", alone)
    if method.remembers_images:
        raise UsageError(
            f"{name_of(method)} learns from the images of earlier batches as well, and each of "
            f"{processes} processes would know a part of them.",
            alone,
        )
    if settings.recipe.batch_size < 2 * processes:
        raise UsageError(
            f"Batches of {settings.recipe.batch_size} images have less than two for each of "
            f"{processes} processes.",
            f"--batch-size {32 * processes}",
        )


def _policy(settings: Settings, views: str) -> Policy:
    """The policy `views`, with the steps that `--mixup` and `--cutmix` stand for."""
    return Policy("+".join([views, *settings.recipe.mixing]), settings.view_seed)


def _unmixed(policy: Policy, caches: Sequence[Cache]) -> Hint:
    """What makes views of the policy that are not mixed: the first cache anew, or an option."""
    if caches:
        return teacher_caches.exported(caches[0], policy.unmixed)
    return f"--policy {policy.unmixed.name}"


def _refuse_mixing(recipe: Recipe, policy: Policy, cache: Cache) -> None:
    """UsageError where a student's images are to be mixed, and those of its cache are not."""
    if steps := recipe.mixing:
        option = steps[0].partition(":")[0]
        mixed = Policy("+".join([policy.unmixed.spec, *steps]), policy.seed)
        raise UsageError(
            f"Students are trained on the views of their cache, of policy {policy.name}, so "
            f"--{option} cannot be given.",
            teacher_caches.exported(cache, mixed),
        )


def _check_group(settings: Settings, data: Data) -> None:
    if settings.classes != "all" and not data.groups.classes(settings.classes):
        raise UsageError(
            f"{data.name} has no {settings.classes} classes ({data.groups.describe()}).",
            "--groups rank",
        )


def _build(
    settings: Settings,
    method: type[Method],
    data: Data,
    caches: tuple[Cache, ...],
    weights: Weights | None,
) -> tuple[Network, Method]:
    """The network, with the head and the projection that its method asks for, and the method."""
    spec = ModelSpec(
        name=settings.model,
        classes=len(data.train.class_names),
        head=settings.head or method.head,
        mean=data.mean,
        std=data.std,
        pretrained=settings.pretrained,
    )
    network = (
        network_with(spec, weights, settings.seed) if weights else models.build(spec, settings.seed)
    )
    if settings.freeze:
        stages = settings.freeze.partition(":")[2]
        freeze_stages(network, int(stages) if stages else None)
    widths = tuple(cache.layout.width for cache in caches)
    projection = method.projection(network.width, widths) if caches else 0
    if projection:
        network = models.build(dataclasses.replace(spec, projection=projection), settings.seed)
    task = _task(settings, data, caches, network.width)
    return network, build_method(method, task, settings.options, settings.seed)


def _task(settings: Settings, data: Data, caches: tuple[Cache, ...], student_width: int) -> Task:
    rows, labels = trained_rows(settings, data), data.train.labels
    return Task(
        class_counts=torch.bincount(
            labels if rows is None else labels[rows], minlength=len(data.train.class_names)
        ),
        labels=labels,
        groups=data.groups,
        student_width=student_width,
        teachers=tuple(teacher_caches.teacher_of(cache) for cache in caches),
        seed=settings.seed,
    )
