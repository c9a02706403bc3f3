"""Bad input of every kind: the exact exit code, one message that names the culprit, and nothing that was there is changed."""

import codecs
import errno
import logging
import os
import pickle
import shutil
import sys
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import hostile_pages
import numpy as np
import pytest
import torch
from member_runs import make_run
from PIL import Image
from tiny import PLAIN

from docclf_cli import app
from docclf_cli.display import console
from docclf_cli.engine.checkpoints.checkpoint import Checkpoint

CLASSES = ("form", "letter", "receipt")
PAGE = "p01.png"  # the one that is made bad
CANARY = "canary"


@dataclass(frozen=True)
class Case:
    """What is done to a working folder, what is typed there, and what is answered."""

    name: str
    prepare: Callable[[Path], object]
    args: str
    code: int
    text: str


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Data in the competition layout, a run of it, a checkpoint of other classes, and a file of the user's own."""
    folder = tmp_path_factory.mktemp("template")
    data, rng = folder / "data", np.random.default_rng(0)
    (data / "train").mkdir(parents=True)
    rows = [(f"p{number:02}.png", number % len(CLASSES)) for number in range(12)]
    for name, label in rows:
        page = np.clip(60 + 60 * label + rng.normal(0, 20, (40, 30, 3)), 0, 255).astype(np.uint8)
        Image.fromarray(page).save(data / "train" / name)
    (data / "train.csv").write_text("ID,target\n" + "".join(f"{name},{label}\n" for name, label in rows))
    (data / "meta.csv").write_text("target,class_name\n" + "".join(f"{n},{name}\n" for n, name in enumerate(CLASSES)))
    make_run(folder / "runs" / "m", data, 0)
    (folder / "runs" / "taken").mkdir()
    (folder / "runs" / "taken" / "notes.txt").write_text("mine")
    (folder / "file").write_text("mine")
    return folder


@pytest.fixture
def docclf(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Iterator[Callable[[str], tuple]]:
    """Run a command line in this process; its code, stdout and stderr."""
    logger = logging.getLogger("docclf")
    before = logger.handlers[:], logger.propagate, logger.level

    def run(line: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["docclf", *line.split(" ")])
        code = app._run(app.app)
        return code, *capsys.readouterr()

    console.start_logging()
    yield run
    logger.handlers[:], logger.propagate, logger.level = before
    console.set_debug(False)


def edit(name: str, change: Callable[[str], str]) -> Callable[[Path], object]:
    return lambda folder: (folder / name).write_text(change((folder / name).read_text()))


def content(name: str, given: bytes | str) -> Callable[[Path], object]:
    def write(folder: Path) -> None:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(given if isinstance(given, bytes) else given.encode())

    return write


def nothing(folder: Path) -> None:
    """The folder as it is."""


TRAIN = "train --data data --no-pretrained --model test_resnet --set runtime.threads=1 --set runtime.workers=0"
TRAIN += "".join(f" --set {key}={value}" for key, value in PLAIN.items())
_BOMB = "a: &a [1,1,1,1,1,1,1,1,1,1]\n" + "".join(
    f"{here}: &{here} [{', '.join(['*' + before] * 10)}]\n" for before, here in zip("abcdefgh", "bcdefghi", strict=True)
)
_MANY = "train: {epochs: 1}\n" + "# " + "x" * (1 << 20)


def profile(name: str, given: bytes | str, text: str) -> Case:
    return Case(f"profile: {name}", content("p.yaml", given), "train --data data --profile p.yaml", 2, text)


PROFILES = [
    profile("syntax", "train: [1\nseed: 0\n", "p.yaml:2"),
    profile("tab", "train:\n\tepochs: 1\n", "tabs"),
    profile("empty", "", "p.yaml: is empty"),
    profile("list at the root", "- a\n", "p.yaml:1: holds a list"),
    profile("a word", "hello\n", "p.yaml:1: holds a value"),
    profile("not UTF-8", "tracking: {project: 영수증}\n".encode("cp949"), "p.yaml:1: not UTF-8"),
    profile("NUL", b"seed: 0\0\n", "p.yaml:1: not YAML"),
    profile("unknown key", "nonsense: 1\n", "p.yaml:1: nonsense"),
    profile("misspelt key", "train: {epoch: 3}\n", "did you mean"),
    profile("duplicate key", "seed: 1\nseed: 2\n", "p.yaml:2: seed: given twice"),
    profile("python tag", f"seed: !!python/object/apply:os.system ['touch {CANARY}']\n", "the tag !!python"),
    profile("alias bomb", _BOMB, "more than"),
    profile("deep nesting", "a: " + "[" * 60 + "]" * 60, "nested deeper"),
    profile("alias of itself", "a: &a [*a]\n", "an alias that holds itself"),
    profile("larger than a profile", _MANY, "p.yaml: larger than 1 MiB"),
    profile("negative", "train: {epochs: -1}\n", "train.epochs"),
    profile("not a number", "optimizer: {lr: .nan}\n", "optimizer.lr"),
    profile("infinite", "optimizer: {lr: .inf}\n", "optimizer.lr"),
    profile("text for a number", "train: {epochs: three}\n", "train.epochs"),
    profile("a huge number", f"seed: {'9' * 5000}\n", "seed"),
    profile("fraction above one", "data: {val_fraction: 1.5}\n", "data.val_fraction"),
    profile("fold without folds", "train: {fold: 1}\n", "fold"),
    profile("parts that do not divide", "train: {batch_size: 32, accumulate: 5}\n", "accumulate"),
    profile("two losses", "model: {use_focal_loss: true}\nloss: {name: cross_entropy}\n", "use_focal_loss"),
    profile("unknown scheduler", "scheduler: cosin\n", "did you mean 'cosine'"),
    profile("unknown parameter", "scheduler: {name: cosine, params: {warmup: 3}}\n", "scheduler.params.warmup"),
    profile("unknown transform", "augmentation: {transforms: [{name: explode}]}\n", "explode"),
    profile("model outside", "model: ../../x\n", "../../x"),
    Case("profile: missing", nothing, "train --profile p.yaml", 2, "p.yaml"),
    Case("profile: a folder", lambda folder: (folder / "p.yaml").mkdir(), "train --profile ./p.yaml", 2, "p.yaml"),
    Case(
        "profile: of two faults both are told", content("p.yaml", "a: 1\nb: 2\n"), "train -p p.yaml", 2, "p.yaml:2: b"
    ),
]

USAGE = [
    Case("usage: unknown command", nothing, "trian", 2, "trian"),
    Case("usage: unknown option", nothing, "train --epoch 3", 2, "--epoch"),
    Case("usage: a word for a number", nothing, "train --epochs many", 2, "'--epochs'"),
    Case("usage: --set without a value", nothing, "train --set train.epochs", 2, "KEY=VALUE"),
    Case("usage: --set of no key", nothing, "train --set train.lr=3", 2, "did you mean 'optimizer.lr'"),
    Case("usage: --set of broken YAML", nothing, "train --set train.epochs=[1", 2, "--set train.epochs"),
    Case("usage: unknown device", nothing, f"{TRAIN} --device gpu", 2, "'gpu'"),
    Case("usage: absent device", nothing, f"{TRAIN} --device cuda:7", 2, "cuda:7"),
    Case("usage: model is a path", nothing, f"{TRAIN} --model /etc/passwd", 2, "/etc/passwd"),
    Case("usage: a fold too many", nothing, f"{TRAIN} --folds 3 --fold 3", 2, "fold"),
    Case("usage: more folds than pages", nothing, f"{TRAIN} --folds 13", 2, "13"),
    Case("usage: name is a path", nothing, f"{TRAIN} --name ../x", 2, "../x"),
    Case("usage: resume and overwrite", nothing, "train --resume runs/m --overwrite", 2, "runs/m"),
    Case("env: a line without a value", content(".env", "WANDB_API_KEY\n"), f"{TRAIN} --epochs 1", 2, ".env"),
]

OUTPUTS = [
    Case("output: a file", nothing, f"{TRAIN} --output file", 2, "file is a file"),
    Case("output: below a file", nothing, f"{TRAIN} --output file/runs", 2, "file is a file"),
    Case("output: cannot be made", nothing, f"{TRAIN} --output /proc/docclf", 6, "/proc/docclf"),
    Case("output: not empty", nothing, f"{TRAIN} --name taken", 2, "runs/taken exists"),
    Case("output: the name of a file", content("runs/x", "mine"), f"{TRAIN} --name x", 2, "runs/x is a file"),
]


def csv(name: str, prepare: Callable[[Path], object], text: str, more: str = "") -> Case:
    return Case(f"csv: {name}", prepare, TRAIN + more, 2, text)


def row(text: str) -> Callable[[Path], object]:
    """One more row in train.csv."""
    return edit("data/train.csv", lambda old: f"{old}{text}\n")


def encoded(encoding: str) -> Callable[[Path], object]:
    def write(folder: Path) -> None:
        path = folder / "data" / "train.csv"
        path.write_bytes((path.read_text() + "영수증.png,0\n").encode(encoding))

    return write


def outside(folder: Path) -> None:
    shutil.copy(folder / "data" / "train" / PAGE, folder / "outside.png")
    (folder / "data" / "train" / PAGE).unlink()
    (folder / "data" / "train" / PAGE).symlink_to(folder / "outside.png")


TABLES = [
    Case("csv: no data root", nothing, "train --data nowhere", 2, "nowhere"),
    Case("csv: the root is a pipe", lambda folder: os.mkfifo(folder / "pipe"), "train --data pipe", 2, "pipe"),
    csv("missing", lambda folder: (folder / "data" / "train.csv").unlink(), "data"),
    csv("empty", content("data/train.csv", ""), "train.csv is empty"),
    csv("header alone", content("data/train.csv", "ID,target\n"), "header but no rows"),
    csv("cp949", encoded("cp949"), "cp949"),
    csv("NUL", row("a\0b.png,0"), "NUL byte in line 14"),
    csv("an open quote", row('"p00.png,0'), "never closed"),
    csv("too many fields", row("p00.png,0,1,2"), "row 14"),
    csv("no such column", edit("data/train.csv", lambda old: old.replace("target", "label")), "no column 'target'"),
    csv("a column twice", edit("data/train.csv", lambda old: old.replace("ID,target", "ID,ID")), "more than once"),
    csv("duplicate ID", row("p00.png,0"), "'p00.png' (rows 2 and 14)"),
    csv("conflicting labels", row("p00.png,1"), "conflicting labels"),
    csv("blank ID", row(",1"), "blank: row 14"),
    csv("blank label", edit("data/train.csv", lambda old: old.replace("p01.png,1", "p01.png,")), "row 3"),
    csv("unknown label", edit("data/train.csv", lambda old: old.replace("p01.png,1", "p01.png,7")), "'7' (row 3)"),
    csv("path escape", row("../../file,0"), "'../../file' (row 14)"),
    csv("absolute path", row("/etc/passwd,0"), "'/etc/passwd' (row 14)"),
    csv("missing image", row("gone.png,0"), "'gone.png' (row 14)"),
    csv(
        "one class", edit("data/train.csv", lambda old: old.replace(",1", ",0").replace(",2", ",0")), "one class (form)"
    ),
    csv("classes skip a number", edit("data/meta.csv", lambda old: old.replace("1,letter", "3,letter")), "meta.csv"),
    csv("a class name twice", edit("data/meta.csv", lambda old: old.replace("letter", "form")), "'form'"),
    csv("no groups file", nothing, "nowhere.csv", " --set data.groups=nowhere.csv"),
    csv("groups without their column", content("g.csv", "ID,other\np00.png,a\n"), "g.csv", " --set data.groups=g.csv"),
    csv("a correction to no class", content("r.csv", "ID,target\np00.png,bill\n"), "bill", " --set data.relabel=r.csv"),
    csv("a validation set of the same pages", nothing, "both sets", " --set data.val=data/train.csv"),
]


def page(name: str, make: Callable[[Path], object], text: str) -> Case:
    def prepare(folder: Path) -> None:
        (folder / "data" / "train" / PAGE).unlink()
        make(folder / "data" / "train" / PAGE)

    return Case(f"page: {name}", prepare, f"{TRAIN} --name new --set data.cache=off", 3, text)


PAGES = [
    *(page(name, make, text) for name, (make, text) in hostile_pages.BAD.items() if name not in ("missing", "device")),
    page("device", lambda path: path.symlink_to("/dev/zero"), "leaves the data root"),
    Case("page: a link out of the root", outside, f"{TRAIN} --name new", 3, "leaves the data root"),
]


class _Bomb:
    def __reduce__(self) -> tuple[object, ...]:
        return os.mkdir, (CANARY,)


def pickled(path: Path) -> None:
    torch.save({"model": _Bomb()}, path)


def old_pickle(path: Path) -> None:
    path.write_bytes(pickle.dumps(_Bomb()))


def foreign_zip(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("data.pkl", pickle.dumps(_Bomb()))


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-2000])


def corrupted(path: Path) -> None:
    whole = bytearray(path.read_bytes())
    whole[len(whole) // 2 : len(whole) // 2 + 300] = bytes(300)
    path.write_bytes(whole)


def resaved(change: Callable[[dict], object]) -> Callable[[Path], None]:
    """The content changed, without its checksum."""

    def save(path: Path) -> None:
        whole = torch.load(path, weights_only=True)
        change(whole)
        torch.save(whole, path)

    return save


def replaced(change: Callable[[Checkpoint], Checkpoint]) -> Callable[[Path], None]:
    """Another checkpoint, with its own checksum."""

    def save(path: Path) -> None:
        changed = change(Checkpoint.load(path))
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("docclf_cli.engine.checkpoints.checkpoint.not_finite", lambda *_: "")
            changed.save(path)

    return save


def of_architecture(name: str) -> Callable[[Checkpoint], Checkpoint]:
    return lambda old: replace(old, model_config=old.model_config.model_copy(update={"model_name": name}))


def with_nan(checkpoint: Checkpoint) -> Checkpoint:
    return replace(checkpoint, model={name: weights * torch.nan for name, weights in checkpoint.model.items()})


def checkpoint(name: str, make: Callable[[Path], object], text: str = "best.ckpt", code: int = 4) -> Case:
    def prepare(folder: Path) -> None:
        make(folder / "runs" / "m" / "best.ckpt")

    return Case(f"checkpoint: {name}", prepare, "evaluate --checkpoint runs/m --device cpu", code, text)


CHECKPOINTS = [
    checkpoint("missing", lambda path: path.unlink(), "no best.ckpt"),
    checkpoint("zero bytes", lambda path: path.write_bytes(b"")),
    checkpoint("text", lambda path: path.write_text("weights"), "best.ckpt: damaged"),
    checkpoint("cut short", cut, "best.ckpt: damaged"),
    checkpoint("damaged inside", corrupted, "its checksum does not match"),
    checkpoint("code in it", pickled, "and is not opened"),
    checkpoint("code in an old format", old_pickle, "best.ckpt: damaged"),
    checkpoint("a zip of something else", foreign_zip, "best.ckpt: damaged"),
    checkpoint("bare weights", resaved(lambda whole: [whole.pop(key) for key in [*whole] if key != "model"]), "not a check"),
    checkpoint("a list", lambda path: torch.save([1, 2], path), "not a checkpoint of docclf"),
    checkpoint("a later format", resaved(lambda whole: whole.update(format_version=99)), "format version 99"),
    checkpoint("changed by hand", resaved(lambda whole: whole.update(temperature=9.0)), "checksum"),
    checkpoint("another architecture", replaced(of_architecture("test_vit")), "do not fit test_vit"),
    checkpoint("an architecture of nobody", replaced(of_architecture("test_vot")), "best.ckpt: "),
    checkpoint("other classes", replaced(lambda old: replace(old, class_names=(*old.class_names, "z"))), "do not fit"),
    checkpoint("weights that are no numbers", replaced(with_nan), "NaN or infinite"),
    Case("checkpoint: absent", nothing, "evaluate --checkpoint nowhere", 4, "nowhere"),
    Case("checkpoint: a device", nothing, "evaluate --checkpoint /dev/null", 4, "/dev/null"),
    Case("checkpoint: none below runs", lambda f: (f / "runs/m/run.json").unlink(), "evaluate", 2, "no finished run"),
    Case(
        "checkpoint: starting weights with code in them", lambda folder: pickled(folder / "w.pth"),
        f"{TRAIN} --pretrained --set model.checkpoint_path=w.pth", 4, "w.pth",
    ),
    Case("checkpoint: an unknown split", nothing, "evaluate --checkpoint runs/m --split tset", 2, "tset"),
    Case("checkpoint: data without the pages", nothing, "evaluate --checkpoint runs/m --data nowhere", 2, "nowhere"),
    Case("members: one twice", nothing, "ensemble --members runs/m --members runs/m", 2, "runs/m"),
    Case("predict: no such page", nothing, "predict gone.png --checkpoint runs/m", 2, "gone.png"),
]  # fmt: skip


def copies(*names: str) -> Callable[[Path], object]:
    """Copies of a page in the folder `mine`."""

    def make(folder: Path) -> None:
        for name in names:
            (folder / "mine" / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(folder / "data" / "train" / "p00.png", folder / "mine" / name)

    return make


def unlabelled(folder: Path) -> None:
    """Test pages that only a sample submission lists."""
    shutil.copytree(folder / "data" / "train", folder / "data" / "test")
    (folder / "data" / "sample_submission.csv").write_text("ID,target\np00.png,0\n")


SCAN = "data/train/p00.png"


def mistake(args: str, text: str, prepare: Callable[[Path], object] = nothing, code: int = 2) -> Case:
    """What a newcomer types, and a part of the answer."""
    return Case(f"mistake: {args}", prepare, args, code, text)


MISTAKES = [
    mistake("train nowhere", "there is no such data root"),
    mistake("train mine", "holds no pages", lambda folder: (folder / "mine").mkdir()),
    mistake("train mine --epochs 1", "of one class (form)", copies("form/a.png", "form/b.png")),
    mistake("train mine --epochs 2", "put them into a folder per class", copies("a.png", "b.png")),
    mistake("train mine --epochs 3", "a.docx", content("mine/a.docx", "text")),
    mistake(f"train {SCAN}", "is a single file and no CSV"),
    mistake("train mine.zip", "unpack an archive first", content("mine.zip", "PK")),
    mistake("train file", "columns: mine"),
    mistake("train https://example.com/pages", "https://example.com/pages: pages are read from folders"),
    mistake("train s3://bucket/pages", "download them"),
    mistake("train data --model resnet81", "did you mean 'resnet18'"),
    mistake("train data --profile labtop", "did you mean 'laptop'"),
    mistake("train data --scheduler cosin", "did you mean 'cosine'"),
    mistake("train data --optimizer adaam", "did you mean 'adam'"),
    mistake("train data --augmentation documnt", "did you mean 'document'"),
    mistake("train data --loss focall", "did you mean 'focal'"),
    mistake("train data --epoch 3", "Possible options: --epochs"),
    mistake("train data --learning-rate 3", "write --lr"),
    mistake("train data --max-epochs=3", "write --epochs 3"),
    mistake("train data epochs=3", "write --epochs 3"),
    mistake("train data model=convnext_small", "write --model convnext_small"),
    mistake("train data --set epochs=3", "did you mean 'train.epochs'"),
    mistake("train data --epochs 0", "must be at least 1, not 0"),
    mistake("train data --lr fast", "'--lr'"),
    mistake("train data --image-size 10", "must be at least 16"),
    mistake("train data more", "unexpected extra argument"),
    mistake("train data --data mine", "are both given, and they differ"),
    mistake("train --resume runs/none", "is not a run folder"),
    mistake("train data --folds 1", "must be at least 2"),
    mistake("train data --set train.monitor=f2", "available: epoch"),
    mistake("evaluate runs/none", "`docclf runs` lists the runs", code=4),
    mistake("evaluate data", "no best.ckpt in this folder", code=4),
    mistake(f"evaluate {SCAN}", f"docclf predict {SCAN}", code=4),
    mistake("evaluate runs/m --split validation", "not one of train, val, test"),
    mistake("evaluate runs/m --split test", "has no test.csv"),
    mistake("evaluate runs/m --data data --split test", "the test pages have no labels", unlabelled),
    mistake("evaluate runs/m --target-precision 99", "99 is not between 0 and 1"),
    mistake("evaluate runs/m --compare runs/none", "runs/none: there is no such checkpoint", code=4),
    mistake("predict", "files, folders, globs"),
    mistake("predict runs/m", "runs/m is the model, and there is nothing to predict"),
    mistake(f"predict {SCAN} runs/m", f"docclf predict runs/m {SCAN}"),
    mistake("predict runs/m *.jpg", "no file matches"),
    mistake("predict runs/m mine", "left out: 1 .docx", content("mine/a.docx", "text")),
    mistake(f"predict runs/m {SCAN} --output out.xlsx", "no table that docclf writes"),
    mistake(f"predict runs/m {SCAN} --output file.csv", "--overwrite", content("file.csv", "mine")),
    mistake(f"predict runs/m {SCAN} --min-confidence 95%", "'--min-confidence'"),
    mistake(f"predict {SCAN} --checkpoint runs/none", "`docclf runs` lists the runs", code=4),
    mistake("class-report runs/m --class nothing", "form, letter, receipt"),
    mistake("class-report --predictions runs/m/best.ckpt", "no file of predictions"),
    mistake("class-report runs/m --lang kr", "not one of en, ko"),
    mistake("ensemble runs/m", "needs two members"),
    mistake("export runs/m --format onxx", "onnx, safetensors"),
    mistake("audit nowhere", "there is no such data root"),
    mistake("runs --sort f2", "'f2' is not one of"),
    mistake("eval runs/m", "Did you mean 'evaluate'"),
    mistake("cache clean", "Did you mean 'clear'"),
    mistake("train dat", "did you mean 'data'"),
    mistake("train data --minutes 0", "train.minutes: must be greater than 0"),
    mistake("train data --text orc", "must be one of 'off', 'layer', 'ocr' or 'auto', not 'orc'"),
    mistake("train data --packets", "0 of them with several pages"),
    mistake("train --from runs/none", "runs/none is no trained run"),
    mistake("evaluate data --split val", "pages to score are named by --data", code=4),
    mistake("ensemble", "an ensemble needs members"),
    mistake("serve runs/none", "`docclf runs` lists the runs", code=4),
    mistake("serve runs/m --port 99999", "'--port'"),
    mistake("serve runs/m runs/m --port 0", "several models need a name each"),
    mistake("serve runs/m --host 0.0.0.0", "set DOCCLF_SERVE_TOKEN"),
    mistake("watch", "Missing argument 'IN'"),
    mistake("watch nowhere --out sorted", "name the folder in which files arrive"),
    mistake("watch data --out data/sorted", "would be sorted again"),
    mistake("watch data --out sorted --settle -1", "'--settle'"),
    mistake("watch data --out sorted --once --checkpoint runs/none", "`docclf runs` lists the runs", code=4),
    mistake("watch data --out sorted --checkpoint runs/m --exec nosuchprogram", "there is no program 'nosuchprogram'"),
    mistake("review nowhere", "there is no such file or folder"),
    mistake("review runs/m", "--target-precision"),
    mistake("review mine --run runs/none", "`docclf runs` lists the runs", copies("a.png"), code=4),
    mistake("tune data", "add --trials 20, or --minutes 60"),
    mistake("tune data --trials 0", "--trials: must be at least 1"),
    mistake("tune data --trials 2 --set train.epoch=2", "did you mean 'train.epochs'"),
    mistake("distill data", "--teacher runs/mine"),
    mistake("distill data --teacher runs/none", "`docclf runs` lists the runs", code=4),
    mistake("distill data --teacher runs/m --weight 3", "must be at most 1, not 3.0"),
    mistake("drift runs/m", "Missing argument 'PREDICTIONS...'"),
    mistake("drift runs/m nowhere", "name what `docclf predict` wrote"),
    mistake("drift runs/m data --alpha 2", "2 is not between 0 and 1"),
    mistake("weights pack resnet81", "unknown model 'resnet81'"),
    mistake("weights pack resnet18 file", "file: damaged, or holds something other", code=4),
    mistake("split-packets", "docclf split-packets RUN packet.pdf"),
    mistake(f"split-packets runs/m {SCAN}", "docclf train FOLDER --packets", code=4),
    mistake(f"split-packets runs/m {SCAN} --target-precision 2", "2 is not between 0.5 and 1"),
    mistake(f"predict runs/m {SCAN} --part 0/3", "--part 3/20 is the third of twenty parts"),
    mistake(f"predict runs/m {SCAN} --part 4/3", "--part 3/20 is the third of twenty parts"),
    mistake("predict --join data", "there are no parts in it"),
    mistake(f"predict runs/m {SCAN} --upright", "name a folder for them: --copy-to DIR"),
    mistake(f"predict runs/m {SCAN} --costs file", "file"),
    mistake(f"predict runs/m {SCAN} --tta --target-precision 0.9", "use --min-confidence"),
    mistake(f"predict runs/m {SCAN} --max-lost 2", "2 is not a share"),
    mistake("runs --output nowhere", "there is no such folder"),
]

BAD = [*PROFILES, *USAGE, *OUTPUTS, *TABLES, *PAGES, *CHECKPOINTS, *MISTAKES]


@pytest.mark.timeout(30)
@pytest.mark.parametrize("case", BAD, ids=[case.name for case in BAD])
def test_bad_input(
    case: Case, template: Path, tmp_path: Path, docclf: Callable[[str], tuple], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = shutil.copytree(template, tmp_path / "work", symlinks=True)
    monkeypatch.chdir(folder)
    case.prepare(folder)
    before = state_of(folder)
    code, stdout, stderr = docclf(case.args)
    assert (code, case.text in stderr) == (case.code, True), (code, stderr)
    assert "Traceback" not in stderr
    assert "a bug in docclf" not in stderr
    assert stdout == ""
    assert not (folder / CANARY).exists()
    after = state_of(folder)
    assert {name: after.get(name) for name in before} == before
    if case.name.startswith("page:"):
        assert PAGE in stderr
        assert PAGE in (folder / "runs" / "new" / "quarantine.csv").read_text()


def state_of(folder: Path) -> dict[str, object]:
    """Everything below a folder: content of files, targets of links, kinds of the rest."""
    found: dict[str, object] = {}
    for path in sorted(folder.rglob("*")):
        kind = path.lstat().st_mode
        found[str(path.relative_to(folder))] = (
            str(path.readlink()) if path.is_symlink() else path.read_bytes() if path.is_file() else kind
        )
    return found


def test_a_table_that_may_not_be_read(
    template: Path, docclf: Callable[[str], tuple], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The superuser may read everything, so the refusal is arranged."""
    monkeypatch.chdir(template)
    read = Path.read_bytes

    def refuse(path: Path) -> bytes:
        if path.name == "train.csv":
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return read(path)

    monkeypatch.setattr(Path, "read_bytes", refuse)
    code, _, stderr = docclf("train data --name new")
    assert (code, "data/train.csv cannot be read: Permission denied" in stderr) == (2, True), stderr


def test_the_table_is_long_enough() -> None:
    assert len({case.name for case in BAD}) == len(BAD) >= 100


GOOD = {
    "a byte order mark": lambda folder: (folder / "data/train.csv").write_bytes(
        codecs.BOM_UTF8 + (folder / "data/train.csv").read_bytes()
    ),
    "a very long page": lambda folder: Image.new("RGB", (1, 60_000)).save(folder / "data" / "train" / PAGE),
}


@pytest.mark.parametrize("name", GOOD)
def test_good_input_that_looks_strange(
    name: str, template: Path, tmp_path: Path, docclf: Callable[[str], tuple], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = shutil.copytree(template, tmp_path / "work")
    monkeypatch.chdir(folder)
    GOOD[name](folder)
    code, _, stderr = docclf(f"{TRAIN} --epochs 1 --image-size 32 --augmentation none --quiet --batch-size 4")
    assert code == 0, stderr
