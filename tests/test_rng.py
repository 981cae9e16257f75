import pytest
import torch

from ltkd_cli.rng import counter_hash, seeded

ROWS = torch.arange(100_000)
FROZEN = [2812178212566171247, 627405149472732430, 6326597005793557049]


def test_gives_the_same_number_for_the_same_parts_in_any_batch():
    alone = counter_hash(7, ROWS[41:42], 3)
    assert alone.item() == counter_hash(7, ROWS, 3)[41].item()


@pytest.mark.parametrize("parts", [(8, ROWS), (7, ROWS + 1), (7, ROWS, 0), (ROWS, 7)])
def test_changes_with_every_part_and_their_order(parts):
    assert (counter_hash(7, ROWS) == counter_hash(*parts)).sum() <= 1  # (7, 7) either way round


def test_never_is_negative_and_does_not_collide():
    hashes = counter_hash(0, ROWS)
    assert hashes.min() >= 0
    assert len(hashes.unique()) == len(ROWS)


@pytest.mark.parametrize("shift", [0, 20, 40, 62])
def test_every_bit_is_one_half_of_the_time(shift):
    share = ((counter_hash(1, ROWS) >> shift) & 1).float().mean().item()
    assert abs(share - 0.5) < 5 * 0.5 / len(ROWS) ** 0.5


def test_seeded_is_the_hash_of_plain_numbers():
    assert seeded(7, 41) == counter_hash(7, ROWS)[41].item()


def test_frozen_numbers_keep_old_caches_true():
    assert counter_hash(0, torch.tensor([0, 1, 2])).tolist() == FROZEN


def test_refuses_to_hash_without_a_tensor():
    with pytest.raises(TypeError):
        counter_hash(1, 2)
