"""`export-logits --logits`: outputs from elsewhere are checked, and teach as a run's do."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from driving import advised, refused
from foreign_files import clean_outputs, good_logits, image_folder, stored

from ltkd_cli.cache import Cache
from ltkd_cli.data import DataSpec, load

SHORT = ("--model", "resnet8", "--epochs", 1, "--evaluate-every", 0, "--precision", "float32")
TEACHER = Path("runs/0001-teach-ce-resnet8/model.safetensors")


@pytest.fixture
def labels():
    return load(DataSpec()).train.labels.numpy()


@pytest.fixture
def logits(empty, labels):
    """Good logits in logits.npy."""
    good = good_logits(labels, 10)
    np.save("logits.npy", good)
    return good


def weights_of(name):
    return Path(f"runs/{name}/model.safetensors").read_bytes()


def record_of(name):
    return json.loads(Path(f"runs/{name}/run.json").read_text())


@pytest.mark.parametrize("method", ["kd", "crd"])
def test_teaches_the_same_weights_as_the_run_whose_outputs_they_are(ltkd, story, method):
    outputs = clean_outputs(TEACHER)
    np.save("logits.npy", outputs["logits"])
    np.save("features.npy", outputs["features"])
    said = ltkd("export-logits", "--logits", "logits.npy", "--features", "features.npy")
    assert said.code == 0, said.err
    assert "training labels" in said.err
    assert ltkd("export-logits", 1, "--policy", "none", "-o", "run.h5").code == 0
    for cache in ("logits", "run"):
        more = ("--method", method, "--cache", f"{cache}.h5", "--name", cache)
        said = ltkd("distill", *SHORT, *more)
        assert said.code == 0, said.err
    assert weights_of("logits") == weights_of("run")


def test_the_cache_says_what_it_is(ltkd, logits):
    assert ltkd("export-logits", "--logits", "logits.npy").code == 0
    held = Cache.open(Path("logits.h5")).attributes
    assert held["teacher_outputs"].keys() == {"logits"}
    assert held["test_split"] == "train"
    info = ltkd("cache", "info", "logits.h5")
    assert info.code == 0
    assert "elsewhere" in info.out
    assert "of training images" in info.out
    scored = json.loads(ltkd("eval", "logits.h5", "--json").out)["results"][0]
    assert scored["data"].startswith("train set")
    assert ltkd("cache", "verify", "logits.h5").code == 0


def test_is_scored_on_the_test_set_where_it_has_logits_for_it(ltkd, logits):
    data = load(DataSpec())
    np.save("test.npy", good_logits(data.test.labels.numpy(), 10, wrong=40))
    more = ("--logits", "logits.npy", "--test-logits", "test.npy")
    assert ltkd("export-logits", *more).code == 0
    (scored,) = json.loads(ltkd("eval", "logits.h5", "--json").out)["results"]
    assert scored["data"].startswith("test set")
    assert scored["all"]["accuracy"] == 0.9


@pytest.mark.parametrize(
    ("change", "name"),
    [
        (lambda test: np.where(test == test.max(), np.nan, test), "test image"),
        (lambda test: np.exp(test) / np.exp(test).sum(1, keepdims=True), "probabilities"),
    ],
    ids=["not a number", "probabilities"],
)
def test_test_logits_are_checked_as_those_of_training_images_are(ltkd, logits, change, name):
    test = good_logits(load(DataSpec()).test.labels.numpy(), 10)
    np.save("test.npy", change(test))
    said = ltkd("export-logits", "--logits", "logits.npy", "--test-logits", "test.npy")
    assert said.code == 1
    assert "test.npy" in said.err
    assert name in said.err


def test_other_test_logits_are_another_export(ltkd, logits):
    labels = load(DataSpec()).test.labels.numpy()
    more = ("--logits", "logits.npy", "--test-logits", "test.npy")
    for wrong in (80, 40):
        np.save("test.npy", good_logits(labels, 10, wrong=wrong))
        if wrong == 40:
            assert refused(ltkd("export-logits", *more), 3, "test_outputs", "--force")
        assert ltkd("export-logits", *more, *(("--force",) if wrong == 40 else ())).code == 0
        assert "exists already" in ltkd("export-logits", *more).err
    (scored,) = json.loads(ltkd("eval", "logits.h5", "--json").out)["results"]
    assert scored["all"]["accuracy"] == 0.9


def test_files_with_other_numbers_are_other_teachers(ltkd, logits):
    np.save("other.npy", logits + 1)
    np.save("same.npy", logits)
    for name in ("logits", "other", "same"):
        assert ltkd("export-logits", "--logits", f"{name}.npy").code == 0
        more = ("--method", "kd", "--cache", f"{name}.h5", "--name", name)
        assert ltkd("distill", *SHORT, *more).code == 0
    said = ltkd("eval", "logits", "other", "same", "--json")
    settings = json.loads(said.out)["settings"]
    assert [one["runs"] for one in settings] == [["logits"], ["other"], ["same"]]
    text = ltkd("eval", "logits", "other", "same").out
    assert "same repeats logits" in text
    assert "other repeats" not in text


def test_the_same_export_again_is_done_and_another_is_refused(ltkd, logits):
    assert ltkd("export-logits", "--logits", "logits.npy").code == 0
    assert "exists already" in ltkd("export-logits", "--logits", "logits.npy").err
    np.save("logits.npy", logits * 2)
    assert refused(ltkd("export-logits", "--logits", "logits.npy"), 3, "logits.h5", "--force")
    assert ltkd("export-logits", "--logits", "logits.npy", "--force").code == 0
    assert np.array_equal(stored("logits.h5"), (logits * 2).astype("f2"))


@pytest.mark.parametrize("kind", [">f4", "<f8", "<f2", "fortran"])
def test_any_floating_point_numbers_are_read(ltkd, logits, kind):
    other = np.asfortranarray(logits) if kind == "fortran" else logits.astype(kind)
    np.save("logits.npy", other)
    assert ltkd("export-logits", "--logits", "logits.npy", "--dtype", "float32").code == 0
    assert np.array_equal(stored("logits.h5"), other.astype("f4"))


def test_rows_in_any_order_and_of_more_images_are_found_by_name(ltkd, empty):
    image_folder(empty / "images")
    data = load(DataSpec(data="images"))
    logits = good_logits(data.train.labels.numpy(), 2)
    names = [f"train/{label}/{number}.png" for label in ("dark", "light") for number in range(6)]
    order = [7, 3, 11, 0, 5, 9, 2, 8, 1, 10, 6, 4]
    np.save("logits.npy", np.concatenate([logits[order], np.full((2, 2), np.nan, "f4")]))
    listed = [*(names[row] for row in order), "val/dark/0.png", "else/7.png"]
    Path("order.txt").write_text("".join(f"./{name}\r\n" for name in listed))
    said = ltkd(
        "export-logits", "--logits", "logits.npy", "--data", "images", "--order", "order.txt"
    )
    assert said.code == 0, said.err
    assert "2 rows" in said.err
    assert np.array_equal(stored("logits.h5"), logits.astype("f2"))


@pytest.mark.parametrize("start", ["", "\ufeff"], ids=["plain", "with a byte order mark"])
def test_paths_of_another_machine_are_told_apart_by_the_folders_above(ltkd, empty, start):
    image_folder(empty / "images")
    logits = good_logits(load(DataSpec(data="images")).train.labels.numpy(), 2)
    np.save("logits.npy", np.concatenate([logits[::-1], np.full((12, 2), np.nan, "f4")]))
    names = [f"{label}/{number}.png" for label in ("dark", "light") for number in range(6)]
    listed = [f"/old/{split}/{name}\n" for split in ("train", "test") for name in names[::-1]]
    Path("order.txt").write_text(start + "".join(listed))
    said = ltkd(
        "export-logits", "--logits", "logits.npy", "--data", "images", "--order", "order.txt"
    )
    assert said.code == 0, said.err
    assert "logits.npy: train accuracy 100.0 %" in said.err
    assert np.array_equal(stored("logits.h5"), logits.astype("f2"))


def test_a_subset_finds_its_images_among_all(ltkd, empty):
    image_folder(empty / "images", images=20)
    spec = DataSpec(data="images", imbalance=4, validation=2)
    images = ("--data", "images", "--imbalance", 4, "--validation", 2)
    everything = good_logits(load(DataSpec(data="images")).train.labels.numpy(), 2)
    np.save("all.npy", everything)
    Path("order.txt").write_text(
        "".join(f"{label}/{number}.png\n" for label in ("dark", "light") for number in
                sorted(range(20), key=str))
    )  # fmt: skip
    said = ltkd("export-logits", "--logits", "all.npy", "--order", "order.txt", *images)
    assert said.code == 0, said.err
    chosen = load(spec).train
    pixels = chosen.images.gather(torch.arange(len(chosen.labels)))[:, :, 0, 0].tolist()
    rows = [
        20 * (blue_red[0] >= 170) + sorted(range(20), key=str).index(blue_red[2])
        for blue_red in pixels
    ]
    assert np.array_equal(stored("all.h5"), everything[rows].astype("f2"))


def test_an_export_that_was_stopped_goes_on(ltkd, logits, monkeypatch):
    from ltkd_cli.commands import foreign, outputs_file

    monkeypatch.setattr(outputs_file, "BLOCK", 50)
    written = []
    original = foreign.CacheWriter.write

    def write(self, start, *values):
        written.append(start)
        if len(written) == 3:
            raise KeyboardInterrupt
        original(self, start, *values)

    monkeypatch.setattr(foreign.CacheWriter, "write", write)
    assert ltkd("export-logits", "--logits", "logits.npy").code == 130
    said = ltkd("cache", "info", "logits.h5")
    assert refused(said, 1, "logits.h5", "ltkd export-logits --logits logits.npy")
    assert ltkd(*advised(said)).code == 0
    assert written[3] == 100
    assert np.array_equal(stored("logits.h5"), logits.astype("f2"))


def test_a_cache_without_features_says_how_to_make_one_with_them(ltkd, logits):
    assert ltkd("export-logits", "--logits", "logits.npy").code == 0
    said = ltkd("distill", "--method", "crd", *SHORT, "--cache", "logits.h5")
    assert refused(said, 3, "logits.h5", "--features FEATURES.npy")


def test_a_student_shows_where_its_teacher_s_outputs_are_from(ltkd, logits):
    assert ltkd("export-logits", "--logits", "logits.npy").code == 0
    assert (
        ltkd("distill", "--method", "kd", *SHORT, "--cache", "logits.h5", "--name", "a").code == 0
    )
    (cache,) = json.loads(ltkd("runs", "show", "a", "--json").out)["ancestors"]
    (outputs,) = cache["ancestors"]
    held = Cache.open(Path("logits.h5")).attributes
    assert (outputs["kind"], outputs["sha256"]) == ("outputs", held["teacher_outputs"]["logits"])


def changed(logits, **values):
    """The same with one number changed."""
    (value,) = values.values()
    other = logits.copy()
    other[3, 2] = value
    return other


BAD_NUMBERS = {
    "not finite": (lambda a: changed(a, to=np.nan), 1, "image 3"),
    "infinite": (lambda a: changed(a, to=-np.inf), 1, "column 2"),
    "too large": (lambda a: changed(a, to=60_000), 1, "60,000"),
    "beyond float32": (lambda a: changed(a.astype("f8"), to=1e300), 1, "inf"),
    "whole numbers": (lambda a: a.astype("i8"), 1, "int64"),
    "complex numbers": (lambda a: a.astype("c8"), 1, "complex64"),
    "one dimension": (lambda a: a[:, 0], 1, "shape"),
    "three dimensions": (lambda a: a[None], 1, "shape"),
    "no rows": (lambda a: a[:0], 1, "shape"),
    "a row too few": (lambda a: a[:-1], 3, "training images"),
    "a class too many": (lambda a: np.pad(a, ((0, 0), (0, 1))), 3, "11 columns"),
    "probabilities": (lambda a: np.exp(a) / np.exp(a).sum(1, keepdims=True), 1, "softmax"),
    "pickled objects": (lambda a: np.array([[print]]), 1, "objects"),
}


@pytest.mark.parametrize("case", BAD_NUMBERS)
def test_numbers_that_are_no_logits_of_these_images_are_refused(ltkd, logits, case):
    change, code, name = BAD_NUMBERS[case]
    np.save("logits.npy", change(logits), allow_pickle=True)
    said = ltkd("export-logits", "--logits", "logits.npy")
    assert refused(said, code, name)
    assert "logits.npy" in said.err
    assert not Path("logits.h5").exists()
    assert not Path("logits.h5.partial").exists()


BAD_FILES = {
    "empty": lambda whole: b"",
    "no array": lambda whole: b"1,2,3\n" * 100,
    "an archive": lambda whole: b"PK\x03\x04" + whole,
    "cut in the numbers": lambda whole: whole[:-8],
    "cut in the header": lambda whole: whole[:40],
    "a header that is no dictionary": lambda whole: whole[:10] + b"(" * 118 + whole[128:],
    "a newer format": lambda whole: whole[:6] + b"\x09" + whole[7:],
}


@pytest.mark.parametrize("case", BAD_FILES)
def test_files_that_hold_no_numbers_are_refused(ltkd, logits, case):
    Path("logits.npy").write_bytes(BAD_FILES[case](Path("logits.npy").read_bytes()))
    assert refused(ltkd("export-logits", "--logits", "logits.npy"), 1, "logits.npy")


BAD_OPTIONS = [
    (("--logits", "none.npy"), 1, "none.npy", "ls -l none.npy"),
    (("--logits", "."), 1, ".", "ls -l"),
    (("--features", "logits.npy"), 2, "--features", "--logits"),
    (("--order", "logits.npy"), 2, "--order", "--logits"),
    (("--test-logits", "logits.npy"), 2, "--test-logits", "--logits"),
    (("--logits", "logits.npy", "--features", "one.npy"), 3, "one.npy", ""),
    (("--logits", "logits.npy", "--test-logits", "logits.npy"), 3, "test images", ""),
    (("1", "--logits", "logits.npy"), 2, "RUN", ""),
    (("--logits", "logits.npy", "--views", 4), 2, "--views", ""),
    (("--logits", "logits.npy", "--policy", "crop"), 2, "--policy", ""),
    (("--logits", "logits.npy", "--view-seed", 1), 2, "--view-seed", ""),
    (("--logits", "logits.npy", "--no-features"), 2, "--no-features", ""),
    (("--logits", "logits.npy", "--precision", "bfloat16"), 2, "--precision", ""),
    (("--logits", "logits.npy", "--dtype", "nonsense"), 2, "'nonsense'", "--dtype float16"),
    (("--logits", "logits.npy", "--order", "order.txt"), 2, "--order", "leave out"),
    (("--logits", "one.npy"), 3, "one.npy", "--data"),
    (("--logits", "logits.npy", "--data", "nowhere"), 1, "'nowhere'", "--data"),
    (("--logits", "logits.npy", "--output", "."), 2, ".", "--output cache.h5"),
    (("--logits", "logits.npy", "--output", "logits.npy", "--force"), 2, "logits.npy", "--output"),
]


@pytest.mark.parametrize(
    ("options", "code", "name", "hint"),
    BAD_OPTIONS,
    ids=[" ".join(map(str, b[0])) for b in BAD_OPTIONS],
)
def test_options_that_do_not_fit_are_refused(ltkd, logits, options, code, name, hint):
    np.save("one.npy", np.ones((1, 3), "f4"))
    Path("order.txt").write_text("a.png\n")
    assert refused(ltkd("export-logits", *options), code, name, hint)


BAD_ORDERS = {
    "an image is lacking": (lambda names: [*names[:-1], "other.png"], 3, "light/5.png"),
    "a line too few": (lambda names: names[:-1], 3, "11 lines"),
    "an empty line": (lambda names: [*names[:5], "", *names[6:]], 1, "Line 6"),
    "a name twice": (lambda names: [names[0], names[0], *names[2:]], 1, "dark/0.png"),
    "names without folders": (lambda names: [name[-5:] for name in names], 1, "twice"),
    "one line for two images": (lambda names: ["0.png", "x", *names[1:6], *names[7:]], 3, "0.png"),
    "two lines for an image": (lambda names: ["a/dark/0.png", *names[:-1]], 3, "5.png"),
}


@pytest.mark.parametrize("case", BAD_ORDERS)
def test_an_order_that_does_not_name_every_image_once_is_refused(ltkd, empty, case):
    change, code, name = BAD_ORDERS[case]
    image_folder(empty / "images")
    names = [f"{label}/{number}.png" for label in ("dark", "light") for number in range(6)]
    np.save("logits.npy", good_logits(np.arange(12) // 6, 2))
    Path("order.txt").write_text("\n".join(change(names)))
    said = ltkd(
        "export-logits", "--logits", "logits.npy", "--data", "images", "--order", "order.txt"
    )
    assert refused(said, code, name)
    assert "order.txt" in said.err


def test_classes_in_another_order_are_no_better_than_chance(ltkd, logits):
    np.save("logits.npy", np.roll(logits, 1, axis=1))
    said = ltkd("export-logits", "--logits", "logits.npy")
    assert refused(said, 1, "chance", "--force")
    assert not Path("logits.h5").exists()
    said = ltkd("export-logits", "--logits", "logits.npy", "--force")
    assert said.code == 0
    assert "chance" in said.err
    distill = ("distill", "--method", "kd", *SHORT, "--cache", "logits.h5")
    assert refused(ltkd(*distill), 3, "chance", "--force")
    assert ltkd(*distill, "--force", "--name", "a").code == 0
    assert ltkd("distill", "--config", "runs/a/config.toml", "--name", "b").code == 0
    assert weights_of("a") == weights_of("b")
