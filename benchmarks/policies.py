"""What a view policy costs: against a training step, and against torchvision's transforms.

    python -m benchmarks.policies --rounds 5

Each policy is drawn on the thread that trains, for batches of 128 images of 32 pixels; its
seconds are shown per image and as a share of those of ResNet-20 training on the same images by
ce (float32, one thread). torchvision's transforms of the same policy run in two DataLoader
workers, which have a processor core each while the thread that trains waits. With
`--photographs`, sources of 256 x 341 pixels are cut to 224 as well. All take turns.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from pathlib import Path

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from torchvision.transforms import AutoAugmentPolicy, v2

from benchmarks import epochs, timing
from ltkd_cli.views.policy import Policy, render

OURS = (
    *("cifar", "cifar-strong", "cifar-strong+mixup:0.8+cutmix:1", "imagenet", "imagenet-strong"),
    *("rrc+flip+randaugment:2:9", "rrc+flip+trivialaugment", "simclr-jitter"),
)
WORKERS = 2
SOURCE, OUTPUT = (256, 341), 224
"""Height and width of photographs, and the side that is cut out of them."""


def main() -> None:
    """Measures, prints a table and writes JSON."""
    arguments = parse()
    torch.set_num_threads(1)
    device = torch.device("cpu")
    images = epochs.random_images(arguments.images)
    pixels = images.images.resident
    assert pixels is not None
    step = epochs.epoch_of(images, None, "ce", "resnet20", "float32", device)
    results: dict[str, object] = {
        "machine": timing.machine(device),
        "images": arguments.images,
        "rounds": arguments.rounds,
        "32 pixels": measure(pixels, 32, {"step": step}, arguments.rounds),
    }
    if arguments.photographs:
        photographs = random_photographs(arguments.photographs)
        results["photographs"] = measure(photographs, OUTPUT, {}, arguments.rounds)
    timing.write(arguments.output, results)
    print(f"wrote {arguments.output}")


def measure(
    pixels: Tensor, size: int, others: dict[str, Callable[[], None]], rounds: int
) -> dict[str, object]:
    """Seconds of one pass over all images by every policy, and by what is given besides."""
    contenders = {f"ltkd {spec}": own(pixels, Policy(spec), size) for spec in OURS}
    for spec, transform in torchvisions(size).items():
        contenders[f"torchvision {spec}"] = in_workers(pixels, transform)
    seconds = timing.in_turn({**contenders, **others}, rounds)
    show(seconds, len(pixels))
    shares = {
        spec: timing.ratios(seconds, f"ltkd {spec}", "step") for spec in OURS if "step" in others
    }
    faster = {
        spec: timing.ratios(seconds, f"torchvision {spec}", f"ltkd {spec}")
        for spec in torchvisions(size)
    }
    for title, found in (
        ("share of a ResNet-20 step", shares),
        (f"times as fast as torchvision in {WORKERS} workers", faster),
    ):
        for spec, ratio in found.items():
            print(f"{title}, {spec}: {ratio['median']:.3f}")
    return {"seconds": seconds, "share of a step": shares, "times as fast": faster}


def own(pixels: Tensor, policy: Policy, size: int) -> Callable[[], None]:
    """A function that renders every image once, batch by batch, views changing as in training."""

    def draw() -> None:
        for rows in torch.randperm(len(pixels)).split(epochs.BATCH):
            render(lambda wanted: pixels[wanted], rows, 1 + rows % 15, policy, len(pixels),
                   (size, size))  # fmt: skip

    return draw


def torchvisions(size: int) -> dict[str, Callable[[Tensor], Tensor]]:
    """The policies that torchvision's transforms can be put together to."""
    cut = v2.RandomResizedCrop(size, antialias=True)
    flip, jitter = v2.RandomHorizontalFlip(), v2.ColorJitter(0.4, 0.4, 0.4)
    found: dict[str, Callable[[Tensor], Tensor]] = {
        "imagenet": v2.Compose([cut, flip, jitter]),
        "rrc+flip+randaugment:2:9": v2.Compose([cut, flip, v2.RandAugment(2, 9)]),
        "rrc+flip+trivialaugment": v2.Compose([cut, flip, v2.TrivialAugmentWide()]),
    }
    if size == 32:
        shift = v2.RandomCrop(32, padding=4)
        learnt = v2.AutoAugment(AutoAugmentPolicy.CIFAR10)
        found["cifar"] = v2.Compose([shift, flip])
        found["cifar-strong"] = v2.Compose([shift, flip, learnt, cutout])
    return found


def cutout(image: Tensor) -> Tensor:
    """An image with a black square of 16 pixels, as torchvision has none."""
    height, width = image.shape[-2:]
    y, x = int(torch.randint(height, ())), int(torch.randint(width, ()))
    image = image.clone()
    image[:, max(y - 8, 0) : y + 8, max(x - 8, 0) : x + 8] = 0
    return image


class Transformed(Dataset[Tensor]):
    """Images, each through a transform when it is asked for."""

    def __init__(self, pixels: Tensor, transform: Callable[[Tensor], Tensor]) -> None:
        """Keeps both."""
        self.pixels, self.transform = pixels, transform

    def __len__(self) -> int:
        """Number of images."""
        return len(self.pixels)

    def __getitem__(self, place: int) -> Tensor:
        """One image through the transform."""
        return self.transform(self.pixels[place])


def in_workers(pixels: Tensor, transform: Callable[[Tensor], Tensor]) -> Callable[[], None]:
    """A function that fetches every image once from workers which stay between the rounds."""
    loader = DataLoader(
        Transformed(pixels, transform),
        batch_size=epochs.BATCH,
        shuffle=True,
        num_workers=WORKERS,
        persistent_workers=True,
    )

    def fetch() -> None:
        batches: Iterator[Tensor] = iter(loader)
        for _ in batches:
            pass

    return fetch


def random_photographs(number: int) -> Tensor:
    """As many random images of the size that photographs are kept in."""
    generator = torch.Generator().manual_seed(0)
    return torch.randint(256, (number, 3, *SOURCE), generator=generator, dtype=torch.uint8)


def show(seconds: dict[str, list[float]], images: int) -> None:
    """Milliseconds for each image: the median round."""
    for name, measured in seconds.items():
        middle = sorted(measured)[len(measured) // 2]
        print(f"{name}: {1000 * middle / images:.3f} ms an image")


def parse() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=2048, help="of 32 pixels")
    parser.add_argument("--photographs", type=int, default=0, help="images cut to 224 as well")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--output", type=Path, default=Path("benchmarks/results/policies.json"))
    return parser.parse_args()


if __name__ == "__main__":
    main()
