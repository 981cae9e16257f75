"""What `rebalance` learns from and chooses on, and what came of it."""

from __future__ import annotations

from ..events import Rebalanced, RebalancingBegins, Retraining
from . import terminal


def begins(event: RebalancingBegins) -> None:
    """What is trained, and the images that choices are made on; a warning if trained on before."""
    name, images = event.run, f"{event.validation_images:,}"
    if event.retraining is not None:
        terminal.note(f"{name}: {event.strategy} on {_training(event, event.retraining)}")
    if event.held_out:
        terminal.note(f"{name}: validated on {images} images that were held out")
    elif event.chosen:
        terminal.warn(
            f"{name} held no images out, so the {' and the '.join(event.chosen)} of "
            f"{event.strategy} {'is' if len(event.chosen) == 1 else 'are'} chosen on {images} of "
            f"its training images, {event.views} views each; it knows them, so the choice and the "
            "validation accuracy are optimistic. Training with --validation 20 holds some out."
        )
    else:
        terminal.note(
            f"{name}: no images were held out, so the validation accuracy is of {images} training "
            "images, and optimistic; nothing is chosen by it"
        )


def ended(event: Rebalanced) -> None:
    """The facts, and a warning where the validation images fare worse."""
    before = (f"{name} {value:.1%}" for name, value in event.test_before.items())
    validation = f"{event.before:.1%} before, {event.after:.1%} after, the mean of the classes"
    terminal.facts(
        event.name,
        [
            ("rebalanced by", event.summary),
            ("validation accuracy", validation),
            ("test accuracy before", ", ".join(before)),
        ],
    )
    if event.worse:
        terminal.warn(
            f"{event.strategy} made the validation images worse; {event.source} may be the better "
            "network."
        )


def _training(event: RebalancingBegins, how: Retraining) -> str:
    return (
        f"{event.train_images:,} training images, epochs {how.epochs:,}, batches of "
        f"{how.batch_size}, learning rate {how.learning_rate:g}, "
        f"{'new' if how.new_views else 'the same'} views in every epoch, "
        f"{'moving' if how.moving_statistics else 'fixed'} batch-norm statistics"
    )
