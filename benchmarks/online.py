"""Online distillation as people write it, to compare with: the teacher runs in every step.

A plain PyTorch loop in float32: torchvision transforms on PIL images, a DataLoader with
workers, the teacher in eval mode without gradients, KL at temperature 4 beside cross-entropy.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms

TEMPERATURE = 4.0


class PilImages(Dataset[tuple[Tensor, int]]):
    """Images as a torchvision data set holds them, augmented one at a time."""

    def __init__(self, pixels: Tensor, labels: Tensor) -> None:
        self.images = [Image.fromarray(image.permute(1, 2, 0).numpy()) for image in pixels]
        self.labels = labels.tolist()
        self.transform = transforms.Compose(
            [
                transforms.RandomCrop(pixels.shape[-1], padding=4),
                transforms.RandomHorizontalFlip(),
                transforms.ToTensor(),
            ]
        )

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, row: int) -> tuple[Tensor, int]:
        return self.transform(self.images[row]), self.labels[row]


def epoch(
    student: nn.Module,
    teacher: nn.Module,
    pixels: Tensor,
    labels: Tensor,
    batch_size: int,
    device: torch.device,
    workers: int,
) -> Callable[[], None]:
    """A function that trains the student for one epoch; workers live on between calls."""
    loader = DataLoader(
        PilImages(pixels, labels),
        batch_size,
        shuffle=True,
        num_workers=workers,
        pin_memory=device.type == "cuda",
        persistent_workers=workers > 0,
    )
    student.to(device).train()
    teacher.to(device).eval()
    optimizer = torch.optim.SGD(student.parameters(), lr=0.1, momentum=0.9, weight_decay=2e-4)

    def run() -> None:
        for images, targets in loader:
            images = images.to(device, non_blocking=True)
            targets = targets.to(device, non_blocking=True)
            with torch.no_grad():
                teacher_logits = teacher(images)["logits"]
            logits = student(images)["logits"]
            distance = F.kl_div(
                F.log_softmax(logits / TEMPERATURE, 1),
                F.softmax(teacher_logits / TEMPERATURE, 1),
                reduction="batchmean",
            )
            loss = 0.1 * F.cross_entropy(logits, targets) + 0.9 * TEMPERATURE**2 * distance
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        if device.type == "cuda":
            torch.cuda.synchronize()

    return run
