"""docs/using_a_student.md does what it says: its code runs, and its logits are those of ltkd."""

import hashlib
import re
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from markdown_it import MarkdownIt
from mixed_sizes import write_photographs
from PIL import ExifTags, Image

from ltkd_cli import models
from ltkd_cli.cli.app import run
from ltkd_cli.commands.settings import Settings
from ltkd_cli.data import load
from ltkd_cli.inference import predict
from ltkd_cli.models import ModelSpec
from ltkd_cli.runs import find
from ltkd_cli.views.policy import Policy
from ltkd_cli.views.resize import frame

PAGE = Path(__file__).parents[1] / "docs" / "using_a_student.md"
SIZE = 32

ROUNDING = 1e-5
"""Of the largest output."""

ROUNDS_ALIKE = torch.backends.cpu.get_cpu_capability().startswith("AVX")
"""Whether torchvision resizes in whole numbers on this processor, as ltkd does everywhere."""

RUNS = {
    "digits": [],
    "rrc": ["--data", "photos", "--image-size", str(SIZE), "--policy", "imagenet"],
    "crop": ["--data", "photos", "--image-size", str(SIZE), "--policy", "crop+flip"],
    "short-side": [
        *("--data", "photos", "--image-size", str(SIZE), "--policy", "imagenet"),
        *("--short-side", "60", "--store", "never"),
    ],
}
"""Options of the trainings whose students enter the page's program."""


def section(heading):
    """The Python blocks of a section of the page, in order."""
    blocks, inside = [], False
    tokens = MarkdownIt().parse(PAGE.read_text())
    for token, after in zip(tokens, [*tokens[1:], None], strict=True):
        if token.type == "heading_open" and token.tag == "h2":
            inside = after.content == heading
        if inside and token.type == "fence" and token.info == "python":
            blocks.append(token.content)
    assert blocks, f"the page has no code under {heading!r}"
    return blocks


SCORE = section("Score a photograph")
EXPORT = section("torch.export")
ONNX = section("ONNX")
READ_FILE, TORCHVISION, TIMM, RENAME = section("torchvision and timm, without ltkd")


def execute(blocks, names=None):
    """What names stand for after the blocks."""
    names = {} if names is None else names
    for block in blocks:
        exec(compile(block, PAGE.name, "exec"), names)
    return names


def close(found, expected):
    """Whether outputs are the same as far as rounding goes, in another batch or program."""
    off = (torch.as_tensor(found) - expected).abs().max()
    return found.shape == expected.shape and bool(off <= ROUNDING * expected.abs().max())


def write_images(folder):
    """Photographs of many shapes; some lie on their side, and two are large enough for draft."""
    write_photographs(folder, train=(6, 4, 2))
    generator = torch.Generator().manual_seed(0)
    for orientation in range(1, 9):
        pixels = torch.randint(0, 256, (40, 60, 3), generator=generator, dtype=torch.uint8)
        large = Image.fromarray(pixels.numpy()).resize((500, 300), Image.Resampling.BICUBIC)
        exif = Image.Exif()
        exif[ExifTags.Base.Orientation] = orientation
        large.save(folder / "test" / "class1" / f"turned{orientation}.jpg", exif=exif)


@pytest.fixture(scope="module")
def programs(tmp_path_factory):
    """A folder for each of RUNS, with a barely trained student in runs/student."""
    top = tmp_path_factory.mktemp("programs")
    write_images(top / "photos")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LTKD_CACHE_DIR", str(top / "cache"))
        patch.chdir(top)
        quick = ["--model", "resnet8", "--epochs", "1", "--evaluate-every", "0"]
        for name, options in RUNS.items():
            where = ["--runs", f"{name}/runs", "--name", "student"]
            assert run(["teach", *options, *quick, *where]) == 0
    return top


@pytest.fixture(params=RUNS)
def program(request, programs, monkeypatch):
    """One of them as the current folder: its run, its data, and paths of its test images."""
    return opened(programs, request.param, monkeypatch)


@pytest.fixture
def digits(programs, monkeypatch):
    """The one for digits, after the code of the first section."""
    opened(programs, "digits", monkeypatch)
    return execute(SCORE)


def opened(programs, name, monkeypatch):
    monkeypatch.chdir(programs / name)
    one = find(programs / name / "runs", "student")
    settings = Settings.of(one)
    data = load(settings.data)
    paths = sorted((programs / "photos" / "test").rglob("*.jpg"))
    if name == "digits":
        paths = [programs / name / f"{row}.png" for row in range(0, len(data.test.labels), 20)]
        pixels = data.test.images.gather(torch.arange(0, len(data.test.labels), 20))
        for path, each in zip(paths, pixels, strict=True):
            Image.fromarray(each.permute(1, 2, 0).numpy()).save(path)
    (programs / name / "photo.jpg").write_bytes(paths[3].read_bytes())
    return SimpleNamespace(name=name, run=one, settings=settings, data=data, paths=paths)


def expected_logits(program):
    """What ltkd's own inference computes for the images of `paths`."""
    student = models.load(program.run.weights)
    policy = Policy(program.settings.views, program.settings.view_seed)
    logits = predict(student, program.data.test, torch.device("cpu"), policy=policy)
    return logits[::20] if program.name == "digits" else logits


def frames(program):
    """The clean views of the same images, as `predict` shows them: uint8 [3, H, W] each."""
    images, margin = program.data.test.images, Policy(program.settings.views).margin
    rows = torch.arange(0, len(images), 20 if program.name == "digits" else 1)
    return [frame(images.gather(row[None]), images.size, margin)[0] for row in rows]


def is_enlarged(path, size):
    with Image.open(path) as image:
        return min(image.size) < size


def test_a_photograph_gets_the_logits_that_ltkd_computes(program, capsys):
    found = execute(SCORE)
    names = program.data.test.class_names
    assert found["class_names"] == list(names)
    assert close(found["logits"][0], expected_logits(program)[3])
    best = names[int(expected_logits(program)[3].argmax())]
    assert capsys.readouterr().out.splitlines()[0].endswith(f"  {best}")


def test_a_photograph_becomes_the_pixels_that_ltkd_shows(program):
    found = execute(SCORE)
    for path, wanted in zip(program.paths, frames(program), strict=True):
        pixels = found["read_photograph"](path, *(found[key] for key in ("size", "kept", "shown")))
        off = (pixels.int() - wanted.int()).abs().max()
        differs = is_enlarged(path, found["size"]) or not ROUNDS_ALIKE
        assert off <= int(differs), path.name  # one grey level, as the page says


def test_a_new_network_is_in_training_mode_and_its_checksum_is_in_the_record(digits):
    path = digits["run"] / "model.safetensors"
    assert models.load(path).training
    assert hashlib.sha256(path.read_bytes()).hexdigest() == digits["record"]["weights_sha256"]


def test_per_class_csv_is_in_the_order_of_the_logits(digits):
    rows = (digits["run"] / "per_class.csv").read_text().splitlines()[1:]
    assert [row.split(",")[1] for row in rows] == digits["class_names"]


def test_the_exported_program_computes_the_students_logits(digits):
    images = torch.rand(3, 3, digits["size"], digits["size"])
    digits = execute(EXPORT[:1], digits)
    loaded = execute(EXPORT[1:], {"images": images})
    with torch.inference_mode():
        assert close(loaded["logits"], digits["student"](images)["logits"])
    with pytest.raises(AssertionError):
        loaded["exported"](torch.rand(3, 3, digits["size"] + 8, digits["size"]))


def test_the_onnx_file_computes_the_students_logits(digits):
    for package in ("onnx", "onnxscript", "onnxruntime"):
        pytest.importorskip(package)
    digits["images"] = torch.rand(3, 3, digits["size"], digits["size"])
    found = execute(ONNX, digits)
    assert close(found["logits"], found["expected"]["logits"])
    assert close(found["features"], found["expected"]["features"])


def student_of(spec):
    """A network in the file that the page names, with statistics of batch norm that matter."""
    network = models.build(spec, seed=1)
    network.train()(torch.rand(8, 3, 64, 64))
    models.save(network, "runs/student/model.safetensors")
    return network.eval()


@pytest.fixture
def empty_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs" / "student").mkdir(parents=True)


STATISTICS = {"mean": (0.5, 0.4, 0.3), "std": (0.2, 0.25, 0.3)}


@pytest.mark.parametrize(
    ("name", "library"),
    [
        ("torchvision/resnet18", TORCHVISION),
        ("torchvision/mobilenet_v3_small", TORCHVISION),
        ("timm/test_efficientnet", TIMM),
        ("timm/test_resnet", TIMM),
    ],
)
def test_the_librarys_own_network_computes_the_students_logits(empty_run, name, library):
    if library is TIMM:
        pytest.importorskip("timm")
    student, images = student_of(ModelSpec(name, 5, **STATISTICS)), torch.rand(3, 3, 64, 64)
    found = execute([READ_FILE, library, RENAME], {"images": images})
    with torch.inference_mode():
        assert close(found["logits"], student(images)["logits"])
    assert not found["network"].__module__.startswith("ltkd_cli")


@pytest.mark.parametrize(
    "spec",
    [
        ModelSpec("torchvision/shufflenet_v2_x0_5", 5, head="cosine:20", **STATISTICS),
        ModelSpec("torchvision/shufflenet_v2_x0_5", 5, projection=16, **STATISTICS),
        ModelSpec("resnet8", 5, **STATISTICS),
    ],
    ids=["cosine head", "projection", "CIFAR ResNet"],
)
def test_what_the_library_does_not_have_is_refused(empty_run, spec):
    student_of(spec)
    with pytest.raises((RuntimeError, KeyError, ValueError)):
        execute([READ_FILE, TORCHVISION, RENAME], {"images": torch.rand(3, 3, 64, 64)})


def test_mean_and_std_are_in_the_metadata_alone(empty_run):
    student_of(ModelSpec("torchvision/shufflenet_v2_x0_5", 5, **STATISTICS))
    found = execute([READ_FILE])
    assert {key: tuple(found["spec"][key]) for key in STATISTICS} == STATISTICS
    assert {name.partition(".")[0] for name in found["tensors"]} == {"backbone", "head"}


def test_logits_are_float32_under_autocast_and_converted_networks_compute_nearly_the_same(digits):
    student, images = digits["student"], torch.rand(3, 3, digits["size"], digits["size"])
    with torch.inference_mode():
        expected = student(images)["logits"]
        with torch.autocast("cpu", torch.bfloat16):
            found = student(images)["logits"]
        converted = models.load("runs/student/model.safetensors").eval().bfloat16()
        rounded = converted(images.bfloat16())["logits"]
    assert found.dtype == torch.float32
    for logits in (found, rounded.float()):
        assert (logits - expected).abs().max() < 0.05 * expected.abs().max()


def test_sixteen_bit_images_are_read_by_the_line_that_the_page_names(digits, tmp_path):
    line = re.search(r"`(torch\.from_numpy\(ltkd_cli\.data\.decode.*?)`", PAGE.read_text())[1]
    values = torch.arange(16 * 16).view(16, 16) * 256
    path = tmp_path / "deep.png"
    Image.fromarray(values.numpy().astype("uint16")).save(path)
    import ltkd_cli.data.decode

    names = {"torch": torch, "ltkd_cli": ltkd_cli, "path": path, "kept": digits["kept"]}
    pixels = eval(line, names)
    assert torch.equal(pixels, (values // 256).to(torch.uint8).expand(3, 16, 16))
