"""Sections chosen by name."""

from collections.abc import Callable
from pathlib import Path

import pytest

from docclf_cli.profile.load import LoadedProfile, dump_profile, load_profile

Load = Callable[..., LoadedProfile]
Faults = Callable[..., list[str]]


def test_a_bare_name_loads_its_group_file(load: Load) -> None:
    profile = load("model: convnext_with_attention\nscheduler: step\n").profile
    assert profile.model.use_attention
    assert profile.scheduler.params == {"step_size": None, "gamma": 0.1}


def test_keys_beside_a_name_override_the_group_file(load: Load) -> None:
    optimizer = load("optimizer: {name: sgd, lr: 0.5, momentum: 0.1}\n").profile.optimizer
    assert (optimizer.lr, optimizer.params) == (0.5, {"momentum": 0.1, "nesterov": True})


def test_keys_without_a_name_change_the_default(load: Load) -> None:
    augmentation = load("augmentation: {mixup: 0.2}\n").profile.augmentation
    assert (augmentation.name, augmentation.mixup, augmentation.transforms[0].name) == ("document", 0.2, "rotate")


@pytest.mark.parametrize("given", [{"options": {"scheduler": "cosine"}}, {"sets": ["scheduler.name=cosine"]}])
def test_another_group_keeps_what_the_profile_set_where_it_has_that_key(
    load: Load, given: dict[str, object], caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level("INFO", "docclf"):
        loaded = load("scheduler: {name: cosine_warm_restart, params: {T_0: 7, eta_min: 0.5}}\n", **given)
    scheduler = loaded.profile.scheduler
    assert (scheduler.name, scheduler.params) == ("cosine", {"T_max": None, "eta_min": 0.5})
    assert loaded.sources["scheduler.params.eta_min"].kind == "profile"
    assert "scheduler.params.T_0" in caplog.text
    assert "is dropped: 'cosine' has no such key" in caplog.text
    assert "keeps what the profile says: scheduler.params.eta_min=0.5" in caplog.text


# A profile's section, the option that names another choice, what must stay, and what is dropped.
SURVIVES = [
    ("model", "{name: resnet18, pretrained: false, dropout_rate: 0.0}", "convnext_small",
     {"pretrained": False, "dropout_rate": 0.0, "model_name": "convnext_small"}, ()),
    ("model", "{name: resnet18, checkpoint_path: w.pth}", "vit", {"checkpoint_path": "w.pth", "pretrained": True}, ()),
    ("optimizer", "{name: adamw, lr: 0.001, layer_decay: 0.9}", "adamw", {"lr": 0.001, "layer_decay": 0.9}, ()),
    ("optimizer", "{name: adamw, lr: 0.001, weight_decay: 0.1}", "sgd",
     {"lr": 0.001, "weight_decay": 0.1, "params": {"momentum": 0.9, "nesterov": True}}, ()),
    ("optimizer", "{name: sgd, momentum: 0.5}", "adam", {"lr": 0.0002}, ("optimizer.params.momentum",)),
    ("scheduler", "{name: warmup_linear, warmup_steps: 9, min_lr: 0.1}", "step",
     {"params": {"step_size": None, "gamma": 0.1}}, ("scheduler.params.warmup_steps", "scheduler.params.min_lr")),
    ("loss", "{name: focal, gamma: 3.0, label_smoothing: 0.1}", "cross_entropy", {"params": {"label_smoothing": 0.1}},
     ("loss.params.gamma",)),
    ("augmentation", "{name: document, mixup: 0.2}", "rough", {"mixup": 0.2, "name": "rough"}, ()),
    ("augmentation", "{name: mine, transforms: [{name: blur, radius: 2}]}", "none", {"transforms": ()},
     ("augmentation.transforms",)),
]  # fmt: skip


@pytest.mark.parametrize(("section", "text", "name", "stays", "dropped"), SURVIVES)
def test_an_option_never_undoes_a_profile_in_silence(
    load: Load,
    caplog: pytest.LogCaptureFixture,
    section: str,
    text: str,
    name: str,
    stays: dict[str, object],
    dropped: tuple[str, ...],
) -> None:
    def parameters(section: str, name: str) -> tuple[str, ...]:
        return ("label_smoothing", "class_weights") if name == "cross_entropy" else ()

    chosen = getattr(load(f"{section}: {text}\n", options={section: name}, parameters=parameters).profile, section)
    assert {key: getattr(chosen, key) for key in stays} == stays
    said = [record.message for record in caplog.records if record.levelname == "WARNING"]
    assert [message.split(" ")[0] for message in said] == list(dropped)


def test_a_model_that_brings_its_loss_leaves_the_rest_of_the_loss(load: Load) -> None:
    text = "loss: {name: cross_entropy, label_smoothing: 0.1}\n"
    loss = load(text, options={"model": "convnext_with_focal"}).profile.loss
    assert (loss.name, loss.params["label_smoothing"]) == ("focal", 0.1)


def test_of_a_written_profile_only_what_differs_from_the_group_file_is_its_own(load: Load) -> None:
    first = load("model: {name: resnet50, pretrained: false}\noptimizer: {name: adamw, lr: 0.3}\n").profile
    again = load(dump_profile(first), options={"model": "convnext_with_attention", "optimizer": "sgd"}).profile
    assert (again.model.pretrained, again.model.use_attention, again.model.dropout_rate) == (False, True, 0.1)
    assert (again.optimizer.lr, again.optimizer.weight_decay) == (0.3, 0.0001)


def test_other_options_stay_whatever_the_order(load: Load) -> None:
    optimizer = load("seed: 1\n", options={"optimizer.lr": 0.7, "optimizer": "sgd"}, sets=["optimizer.momentum=0.2"])
    assert optimizer.profile.optimizer.lr == 0.7
    assert optimizer.profile.optimizer.params == {"momentum": 0.2, "nesterov": True}


def test_any_timm_model_goes_by_its_own_name(load: Load) -> None:
    assert load("model: resnet18\n").profile.model.model_name == "resnet18"
    assert load("model: {model_name: resnet18}\n").profile.model.name == "resnet18"
    model = load_profile("config", options={"model": "vit_tiny_patch16_224.augreg_in21k"}).profile.model
    assert (model.name, model.model_name) == ("vit_tiny_patch16_224.augreg_in21k",) * 2


def test_model_name_is_the_architecture_and_name_the_group(load: Load) -> None:
    model = load("model: {name: convnext_with_attention, model_name: convnext_small}\n").profile.model
    assert (model.name, model.model_name, model.use_attention) == ("convnext_with_attention", "convnext_small", True)


@pytest.mark.parametrize("name", ["../../x", "/etc/passwd", "a/b", "..", ".hidden", "a b", "", "x" * 200])
def test_a_name_cannot_leave_its_folder(faults: Faults, name: str) -> None:
    assert "is not a name (known: convnext," in faults("seed: 1\n", options={"model": name})[0]


def test_a_file_of_ones_own_may_hold_another_block(load: Load, tmp_path: Path) -> None:
    folder = tmp_path / "mine/scheduler"
    folder.mkdir(parents=True)
    (folder / "slow.yaml").write_text("_target_: src.schedulers.cosine.CosineScheduler\nT_max: 200\n")
    (folder / "slower.yaml").write_text("name: cosine\nparams: {T_max: 400}\n")
    for name, total in (("slow", 200), ("slower", 400)):
        scheduler = load(f"scheduler: {name}\n", default_dir=tmp_path / "mine").profile.scheduler
        assert (scheduler.name, scheduler.params) == ("cosine", {"T_max": total})


def test_a_policy_is_a_file_or_a_list_of_transforms(load: Load, faults: Faults) -> None:
    assert faults("augmentation: ruogh\n")[0].startswith(
        "p.yaml:1: augmentation: there is no policy 'ruogh', did you mean 'rough'? (known: document, light,"
    )
    augmentation = load("augmentation: {name: mine, transforms: [{name: blur, radius: 2}]}\n").profile.augmentation
    assert [transform.params for transform in augmentation.transforms] == [{"radius": 2}]


@pytest.mark.parametrize(
    "target", ["os.system", "torch.optim.SGD", "cosine", "src.schedulers.cosine", "src.a.b.c.D", "!x", "[1]"]
)
def test_a_target_of_another_form_is_a_fault(faults: Faults, target: str) -> None:
    assert "_target_" in " ".join(faults(f"scheduler:\n  _target_: '{target}'\n"))


def test_one_key_in_two_spellings_is_given_twice(faults: Faults) -> None:
    found = faults("scheduler:\n  name: cosine\n  T_max: 5\n  params:\n    T_max: 6\n")
    assert found == ["p.yaml:5: scheduler.params.T_max: given twice, here and as scheduler.T_max"]


class TestFocalLoss:
    """`model.use_focal_loss` is another way to name the loss."""

    TEXT = "model:\n  name: convnext\n  use_focal_loss: true\n  alpha: 0.5\n"

    def test_it_becomes_the_loss(self, load: Load) -> None:
        loaded = load(self.TEXT)
        assert loaded.profile.loss.name == "focal"
        assert (loaded.profile.loss.params["alpha"], loaded.profile.loss.params["gamma"]) == (0.5, 2.0)
        assert loaded.sources["loss.params.alpha"].where == loaded.sources["model.alpha"].where

    def test_parameters_of_a_loss_that_is_not_named_stay(self, load: Load) -> None:
        assert load(self.TEXT + "loss: {label_smoothing: 0.1}\n").profile.loss.params["label_smoothing"] == 0.1

    def test_the_same_loss_may_be_named_beside_it(self, load: Load) -> None:
        params = load(self.TEXT + "loss: {name: focal, gamma: 2.0}\n").profile.loss.params
        assert (params["alpha"], params["gamma"]) == (0.5, 2.0)

    def test_another_loss_beside_it_is_a_fault(self, faults: Faults) -> None:
        assert faults(self.TEXT + "loss: cross_entropy\n")[0].startswith("p.yaml:5: loss: names cross_entropy, and")

    def test_another_alpha_beside_it_is_a_fault(self, faults: Faults) -> None:
        found = faults(self.TEXT + "loss:\n  name: focal\n  alpha: 0.25\n")
        assert found == ["p.yaml:7: loss.params.alpha: is not model.alpha, which is 0.5; say it in one place"]

    def test_the_command_line_wins_over_a_loss_of_the_file(self, load: Load, faults: Faults) -> None:
        text = "loss: {name: cross_entropy, label_smoothing: 0.1}\n"
        for given in ({"options": {"model": "convnext_with_focal"}}, {"sets": ["model.use_focal_loss=true"]}):
            loss = load(text, **given).profile.loss
            assert (loss.name, loss.params["label_smoothing"]) == ("focal", 0.1)
        assert "names cross_entropy" in faults(self.TEXT, options={"loss": "cross_entropy"})[0]
