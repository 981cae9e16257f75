"""The four commands on photographs of mixed sizes, from the store and from files."""

from contextlib import chdir

import pytest
from driving import datasets, refused
from mixed_sizes import SIZE, write_photographs

from ltkd_cli import runs

TINY = ("--model", "resnet8", "--epochs", 2, "--batch-size", 8, "--evaluate-every", 0)
IMAGES = ("--data", "mixed", "--image-size", SIZE, "--groups", "rank")
TEACHER, STUDENT = "1", "2"


@pytest.fixture(scope="module")
def told(ltkd, tmp_path_factory):
    """Folders of runs, trained from the store and from files, with what was written of each."""
    here = tmp_path_factory.mktemp("photographs")
    with chdir(here):
        write_photographs(here / "mixed")
        yield {store: tell(ltkd, here / store, store) for store in ("always", "never")}


def tell(ltkd, root, store):
    said = [
        ltkd("teach", *IMAGES, *TINY, "--policy", "imagenet", "--store", store, "--runs", root),
        ltkd("export-logits", "--views", 3, "--runs", root, "--force"),
        ltkd("distill", *TINY, "--method", "bkd", "--runs", root, "--force"),
        ltkd("eval", TEACHER, STUDENT, "--runs", root),
    ]
    assert [each.code for each in said] == [0] * 4, [each.err for each in said]
    return root, said


def test_weights_and_outputs_are_the_same_bit_for_bit(told):
    roots = [root for root, _ in told.values()]
    for number in (TEACHER, STUDENT):
        sums = {runs.find(root, number).record["weights_sha256"] for root in roots}
        assert len(sums) == 1
    assert datasets(*cache_of(roots[0])) == datasets(*cache_of(roots[1]))


def cache_of(root):
    return list(root.glob("*/*.h5"))


@pytest.mark.parametrize(("store", "words"), [("always", "stored in"), ("never", "from files")])
def test_each_command_says_how_the_images_are_kept(told, store, words):
    _, said = told[store]
    for each in said:
        lines = [line for line in each.err.splitlines() if f"--store {store}" in line]
        assert len(lines) == 1
        assert words in lines[0]
        assert "36 pixels" in lines[0]


def test_scores_are_the_same_and_those_of_the_runs(told):
    answers = [said[-1].out.replace(str(root), "") for root, said in told.values()]
    assert answers[0] == answers[1]


def test_the_share_of_waiting_is_recorded(told):
    root, _ = told["never"]
    lines = (runs.find(root, STUDENT).path / "metrics.jsonl").read_text().splitlines()
    assert len(lines) == 2
    assert all('"waiting": 0.' in line or '"waiting": 1' in line for line in lines)


def test_runs_from_store_and_from_files_are_seeds_of_one_setting(told):
    from ltkd_cli.commands.identity import setting_of

    roots = [root for root, _ in told.values()]
    left, right = (setting_of(runs.find(root, STUDENT)) for root in roots)
    assert left == right


def test_a_student_trains_from_files_on_a_cache_made_from_the_store(told, ltkd):
    root, _ = told["always"]
    (cache,) = cache_of(root)
    given = ("--method", "bkd", "--cache", cache, "--store", "never", "--force")
    said = ltkd("distill", *TINY, *given, "--runs", root, "--name", "from-files")
    assert said.code == 0
    made, first = runs.find(root, "from-files"), runs.find(root, STUDENT)
    assert made.record["weights_sha256"] == first.record["weights_sha256"]


def test_eval_and_rebalance_can_choose_another_way_than_the_run(told, ltkd):
    root, _ = told["never"]
    for command in (("eval", TEACHER), ("rebalance", TEACHER, "--strategy", "tau-norm")):
        said = ltkd(*command, "--store", "always", "--runs", root)
        assert said.code == 0
        assert "stored in" in said.err


def test_other_words_for_store_are_refused(told, ltkd):
    assert refused(ltkd("teach", *IMAGES, "--store", "maybe"), 2, "maybe", "--store auto")
    root, _ = told["always"]
    assert refused(ltkd("eval", TEACHER, "--runs", root, "--store", "maybe"), 2, "maybe", "--store")


def test_views_are_drawn_of_photographs(told, ltkd):
    said = ltkd("views", "mixed", "--image-size", SIZE, "--policy", "imagenet-strong",
                "--images", 3, "--views", 3, "--out", "seen.png")  # fmt: skip
    assert said.code == 0


def test_data_shows_how_large_the_decoded_images_are(told, ltkd):
    said = ltkd("data", "mixed", "--image-size", SIZE, "--store", "never")
    assert said.code == 0
    assert "decoded" in said.out
    assert "KB" in said.out or "MB" in said.out


def test_photographs_are_cut_at_random_and_squares_are_padded(ltkd, empty):
    write_photographs(empty / "mixed")
    write_photographs(empty / "squares", sizes=[(SIZE, SIZE)])
    for images, views in (("mixed", "rrc:0.08+flip"), ("squares", "crop-flip")):
        assert ltkd("teach", "--data", images, "--image-size", SIZE, *TINY).code == 0
        assert runs.newest(empty / "runs").settings["views"] == views


def test_a_network_for_cifar_is_warned_of_where_photographs_are_large(ltkd, empty):
    write_photographs(empty / "mixed")
    large = ("--data", "mixed", "--image-size", 72)
    said = ltkd("teach", *large, *TINY)
    assert said.code == 0
    (warning,) = [line for line in said.err.splitlines() if "resnet8 is made for" in line]
    assert "72" in warning
    said = ltkd("export-logits", "--views", 1, "--force")
    assert "--model torchvision/resnet18 --recipe imagenet-lt" in said.err.splitlines()[-1]
    said = ltkd("teach", "--data", "mixed", "--image-size", SIZE, *TINY)
    assert "is made for" not in said.err
