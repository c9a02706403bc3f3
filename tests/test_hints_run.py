"""Whatever a message proposes is filled in and run: every written command, and every option of every command.

`test_hints.py` looks at all sentences of the source; here what they propose is done, in a copy of `HintWorld`. A new
hint needs no entry unless what it names is not in that folder (then `INSTEAD` says what to take), or it proposes an option
that no command gives yet (then `ROUNDS` gets it).
"""

import shlex
import shutil
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import s3_server
from cli_process import CliProcess, Outcome
from hint_world import SPACED, HintWorld
from s3_server import S3Server
from test_hints import _COMMAND, _OPTION, COMMANDS, FOREIGN, JOINED, SENTENCES, _options, _written_commands

QUIET_PLACES = ("display/messages", "profile/schema", "results/reference")  # the same sentences, or explanations
SERVERS = ("serve", "review", "watch")  # they run until they are stopped, unless told otherwise

# What a command of a message is filled in with, where the words themselves name nothing in the folder.
INSTEAD: dict[str, str] = {
    "predict runs/mine letter.pdf 'inbox/**/*.tif' --target-precision 0.99 --copy-to sorted":
        "predict runs/sure letter.pdf 'inbox/**/*.tif' --target-precision 0.5 --copy-to sorted",
    "serve runs/mine --target-precision 0.99": "serve runs/sure --target-precision 0.5 --port 0",
    "watch inbox/ --out sorted/ --exec 'python notify.py'":
        "watch inbox/ --out sorted/ --once --settle 0 --checkpoint runs/mine --exec 'python notify.py'",
    "watch inbox/ --out sorted/ --split-packets": "watch inbox/ --out sorted/ --once --settle 0 --split-packets --checkpoint runs/mine",
    "evaluate runs/mine --unknown other-pages/ --costs costs.csv":
        "evaluate runs/mine --unknown other-pages/ --costs costs.csv --max-lost 0.2",
    f"predict '{SPACED}' --split test '{SPACED}'": f"predict '{SPACED}' --split test --min-confidence 0.9",
    f"predict '{SPACED}' FOLDER --copy-to sorted": f"predict '{SPACED}' scans/ --copy-to sorted",
    "predict scans/ --checkpoint runs/mine --backend onnx": "predict scans/ --checkpoint runs/other --backend onnx",
    "serve runs/mine --host 0.0.0.0": "serve runs/mine --host 0.0.0.0 --port 0",
    f"split-packets '{SPACED}' '{SPACED}' --cuts '{SPACED}' --write documents":
        "split-packets runs/mine packet.pdf --cuts cuts.csv --write documents",
    "split-packets RUN PACKET.pdf --output documents.csv": "split-packets runs/mine packet.pdf --output new.csv",
    "split-packets runs/mine inbox/ --cuts documents-review/review_cuts.csv --write documents/":
        "split-packets runs/mine inbox/packet.pdf --cuts cuts.csv --write documents/",
    "split-packets runs/mine inbox/ --write documents/ --output documents.csv":
        "split-packets runs/mine inbox/packet.pdf --write documents/ --output new.csv",
    f"train '{SPACED}'": "train my/pages",
    "train '폴더' --model '이름'": "train my/pages --model test_vit",
    "train my/pages --set data.groups=runs/check/groups.csv --set data.relabel=runs/check/relabel.csv":
        "train my/few --set data.groups=runs/check/groups.csv --set data.relabel=relabel.csv",
    f"weights pack '{SPACED}' FILE": "weights pack test_resnet weights.pth",
    "adapt runs/mine --to scans/": "adapt runs/mine --to my/pages --max-loss 1",
    "adapt runs/mine --to scans/ --prior 256 --output adapted.ckpt":
        "adapt runs/mine --to my/pages --max-loss 1 --prior 256 --output adapted.ckpt --overwrite",
    "predict runs/mine/adapted.ckpt scans/": "predict runs/mine scans/",
    "audit": "audit my/few",
    f"audit '{SPACED}'": "audit my/few",
    "audit my/pages": "audit my/few",  # the pages of the packets are compared one by one
    "audit --run runs/folds --name check": "audit --run runs/folds --name second",
    f"class-report '{SPACED}' --class '{SPACED}'": f"class-report '{SPACED}' --class invoice",
    "class-report --predictions runs/mine/predictions/val-0123456789abcdef.npz --json":
        "class-report --predictions kept.npz --json",
    "distill --resume runs/small": "distill --resume runs/stopped-student",
    "distill --teacher runs/folds --model tf_efficientnet_lite0": "distill my/few --teacher runs/folds --model test_vit",
    "distill --teacher runs/large --teacher runs/other --model resnet18 --name small":
        "distill my/pages --teacher runs/mine --teacher runs/other --model test_vit --name small",
    "drift runs/mine january/ february/ march/": "drift runs/mine predictions/ predictions/ predictions/",
    "drift runs/mine today.csv --alpha 0.001 --json '||' mail-someone": "drift runs/mine today.csv --alpha 0.001 --json",
    "ensemble": "ensemble runs/mine runs/other",
    "ensemble --method all": "ensemble runs/mine runs/other --method all",
    "ensemble runs/a runs/b --method all": "ensemble runs/mine runs/other --method all",
    "ensemble runs/folds --data other/pages --set ensemble.tta.enabled=true":
        "ensemble runs/folds --data scans --set ensemble.tta.enabled=true",
    "evaluate RUN --target-precision 0.99": "evaluate runs/mine --target-precision 0.99",
    "evaluate s3://my-models/docclf/mine --split test": "evaluate s3://docclf-test/docclf/mine --split test",
    f"export --checkpoint '{SPACED}'": f"export --checkpoint '{SPACED}'",
    "predict": "predict scans/ --output elsewhere",
    f"predict '{SPACED}'": "predict letter.pdf --output elsewhere",  # said of a page that was named as a model
    "predict --checkpoint s3://my-models/docclf/convnext-01":
        "predict --checkpoint s3://docclf-test/docclf/mine scans/",
    f"predict --join '{SPACED}'": "predict --join parts",
    "predict --min-confidence 0.9": "predict scans/ --min-confidence 0.9",
    "predict RUN INPUT --part 1/20 writes one": "predict runs/mine scans/ --part 1/20",
    "predict runs/mine - --format jsonl -o archive.jsonl": "predict runs/mine list.txt --format jsonl -o archive.jsonl",
    "review": "review scans/",
    f"review '{SPACED}'": "review runs/check",
    "review RUN": "review runs/mine",
    "runs --output elsewhere/runs --json": "runs --output runs --json",
    "s3-pull convnext-01 runs/convnext-01": "s3-pull mine runs/pulled",
    f"s3-push '{SPACED}' --profile '{SPACED}'": "s3-push runs/mine --profile runs/mine/profile.yaml",
    "s3-push RUN --name NAME": "s3-push runs/mine --name NAME",
    "s3-push a.ckpt b.ckpt --name pair": "s3-push runs/mine/best.ckpt runs/mine/last.ckpt --name pair",
    "s3-push runs/convnext-01 --bucket my-models --prefix documents":
        "s3-push runs/mine --bucket docclf-test --prefix documents",
    "s3-push runs/convnext-01 --dry-run": "s3-push runs/mine --dry-run",
    "serve letters=runs/letters forms=runs/forms --port 9000 --reload":
        "serve letters=runs/mine forms=runs/other --port 0 --reload",
    "split-packets": "split-packets runs/mine packet.pdf",
    "split-packets RUN packet.pdf": "split-packets runs/mine packet.pdf",
    "train": "train my/pages",
    f"train '{SPACED}' --add '{SPACED}'": "train --from runs/mine --add review_labels.csv",
    f"train '{SPACED}' --profile '{SPACED}'": f"train my/pages --profile '{SPACED}/profile.yaml'",
    "train --add review_labels.csv": "train --from runs/mine --add review_labels.csv",
    "train --from runs/mine --add scans-review/review_labels.csv": "train --from runs/mine --add review_labels.csv",
    "train --folds 5": "train my/pages --folds 5",
    "train --data '{data}' --profile scratch": "train --data my/pages --profile scratch",
    f"train --resume '{SPACED}'": "train --resume runs/stopped",
    "train --resume runs/mine": "train --resume runs/stopped",
    "train FOLDER --model NAME": "train my/pages --model test_vit",
    "train FOLDER --packets": "train my/pages --packets",
    "train my/documents --packets": "train my/pages --packets",
    "train my/pages --model convnext_small --scheduler warmup_cosine":
        "train my/pages --model convnext_small --scheduler warmup_cosine --no-pretrained",
    "tune my/pages --trials 20": "tune my/few --trials 1",
    "tune my/pages --profile laptop --minutes 120": "tune my/few --profile laptop --minutes 0.01 --trials 1",
    "tune my/pages --profile laptop --space mine.yaml --trials 40 --name second":
        "tune my/few --profile laptop --space mine.yaml --trials 1 --name second",
    "weights pack convnext_tiny weights.safetensors --to wheels": "weights pack test_resnet weights.pth --to wheels",
    "weights pack resnet50": "weights pack test_resnet weights.pth",
}  # fmt: skip
UNRUN: dict[str, str] = {
    "review documents.csv": "no cut of these packets is in doubt; tests/tasks/review gives it one",
    "ensemble --profile ensemble --method weighted --set ensemble.weights=auto": "takes 50 held-out pages; tests/commands/test_ensemble gives it",
    "tta runs/mine --prune --json": "takes 50 held-out pages; tests/commands/test_tta gives it",
    "env-check --full --online": "asks wandb.ai",
    "env-check --online": "asks wandb.ai",
    "env-check --strict --json": "a machine may fail its checks; tests/commands/test_env_check runs it",
}

# Commands that give every option which a message proposes by its name alone, beyond those of the written commands.
ROUNDS: tuple[str, ...] = (
    "audit my/few --similarity 0.9 --name check --overwrite --set runtime.workers=0",
    "class-report runs/mine --split val --html --explain",
    "class-report runs/mine --html --no-thumbnails",
    "distill my/pages --teacher runs/mine --model test_vit --name fresh --unlabelled strangers",
    "ensemble --members runs/mine --members runs/other --split test --name fresh --profile ensemble",
    "env-check --data my/few --output elsewhere --set runtime.workers=0 --json",
    "evaluate runs/mine --target-precision 0.6 --expect-unknown 0.1 --max-lost 0.1 --output elsewhere --set runtime.workers=0",
    "export --checkpoint runs/mine --format onnx --int8 --tolerance 1 --output list.txt --overwrite",
    "predict scans/ --checkpoint runs/mine --device cpu --precision fp32 --backend torch --max-unreadable 1 --min-confidence 0.9"
    " --output predictions --overwrite --explain heat --set runtime.workers=0",
    "predict runs/mine --split test --data my/pages --submission --fill invoice",
    "predict runs/mine scans/ --output elsewhere --copy-to sorted --upright --reencode --min-confidence 0.6",
    "predict runs/mine scans/ --output elsewhere --costs costs.csv",
    "predict runs/mine scans/ --output elsewhere --tta",
    "predict scans/ --output elsewhere --profile both",
    "predict runs/reads letter.pdf --output elsewhere --explain-text words.csv",
    "review scans/ --export --format label-studio",
    "review scans/ --run runs/mine --host 127.0.0.1 --port 0 --output elsewhere",
    "s3-push runs/mine --name fresh --overwrite --set s3.checksums=when_required",
    "serve runs/mine --host 127.0.0.1 --port 0 --costs costs.csv",
    "serve runs/mine --port 0 --tta --min-confidence 0.9",
    "split-packets runs/mine packet.pdf --max-unreadable 1 --output scans.csv --overwrite --target-precision 0.6 --text off --write parted",
    "train --data my/pages --dry-run --augmentation document --batch-size 4 --epochs 2 --folds 3 --fold 1 --image-size 32"
    " --lr 0.001 --model test_vit --no-pretrained --name mine --output runs --overwrite --profile config --scheduler warmup_cosine"
    " --set train.refit=false --debug",
    "train --resume runs/stopped --allow-changes --epochs 2",
    "tta runs/mine --json",
    "tune my/few --trials 1 --apart 0.3 --name fresh",
    "watch inbox/ --out sorted/ --once --settle 0 --checkpoint runs/mine --min-confidence 0.9 --backend torch",
)
UNGIVEN: dict[str, str] = {
    "env-check --online": "asks wandb.ai",
    "env-check --full": "a machine may fail its checks",
    "env-check --strict": "a machine may fail its checks",
    "tta --prune": "takes 50 held-out pages; tests/commands/test_tta gives it",
    "train --pretrained": "takes weights from a package or the hub",
}


def proposed_commands() -> set[str]:
    """Every command that the source writes out."""
    found = {shlex.join(words) for one in SENTENCES for words in _written_commands(one.text)}
    return found | {shlex.join(words) for words in JOINED.values()}


def commands_to_run() -> list[str]:
    """The proposed commands, filled in, and the rounds; without those whose words are all in another one's."""
    found = {_short(INSTEAD.get(command, command)) for command in proposed_commands() - UNRUN.keys()} | set(ROUNDS)
    words = {command: set(shlex.split(command)) for command in found}
    return sorted(one for one in found if not any(words[one] < other for other in words.values()))


def _short(command: str) -> str:
    """Of a training from the beginning everything up to its first step: the folder itself holds trained runs."""
    if command.startswith("train") and "--resume" not in command:
        return f"{command} --dry-run"
    own_output = {"--output", "-o", "--join", "--part", "--submission"} & set(shlex.split(command))
    return f"{command} --overwrite" if command.startswith("predict") and not own_output else command


def proposed_options() -> Iterator[tuple[str, str]]:
    """Each option that the source names, with the first command that shows the sentence and takes it."""
    for one in SENTENCES:
        named = [name for name in _COMMAND.findall(one.text) if name in COMMANDS]
        for option in _OPTION.findall(one.text):
            if option not in FOREIGN and one.place not in QUIET_PLACES:
                yield next(name for name in (*named, *one.shown_by) if option in _options(name)), option


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory, cache_home: Path) -> Path:
    folder = tmp_path_factory.mktemp("hints") / "world"
    HintWorld(folder, cache_home).build()
    return folder


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory, world: Path, cache_home: Path) -> Iterator[S3Server]:
    """A server that has the run `mine`."""
    with s3_server.running(tmp_path_factory.mktemp("s3")) as running:
        HintWorld(world, cache_home).run("s3-push runs/mine", **running.environment())
        yield running


@pytest.fixture
def follow(
    world: Path, tmp_path: Path, start: Callable[..., CliProcess], request: pytest.FixtureRequest
) -> Callable[[str], Outcome]:
    """Run a command in a copy of the world; one that listens is stopped as soon as it does."""
    shutil.copytree(world, tmp_path, dirs_exist_ok=True)

    def run(command: str) -> Outcome:
        words = shlex.split(command)
        remote = words[0].startswith("s3-") or "s3://" in command
        env = request.getfixturevalue("server").environment() if remote else {}
        process = start(*words, env={"DOCCLF_SERVE_TOKEN": "a token of more than sixteen characters", **env})
        if words[0] in SERVERS and not {"--once", "--export"} & set(words):
            process.wait_for("watching" if words[0] == "watch" else "http://")
            process.send(signal.SIGINT)
        return process.wait()

    return run


@pytest.mark.slow
@pytest.mark.parametrize("command", commands_to_run())
def test_what_is_proposed_can_be_done(command: str, follow: Callable[[str], Outcome]) -> None:
    outcome = follow(command)
    allowed = {0, 130} if command.split()[0] in SERVERS else {0}
    allowed |= {9} if command.startswith("drift") else set()  # pages have changed
    assert outcome.code in allowed, f"docclf {command}\n{outcome.stderr}"


def test_every_proposed_option_is_given_in_a_command_that_is_run() -> None:
    given = {(words[0], word) for words in map(shlex.split, commands_to_run()) for word in words}
    given |= {(words[0], word) for words in map(shlex.split, UNGIVEN) for word in words}
    assert sorted(set(proposed_options()) - given) == []


def test_no_entry_is_left_from_a_hint_that_is_gone() -> None:
    assert INSTEAD.keys() - proposed_commands() == set()
    assert UNRUN.keys() - proposed_commands() == set()
    assert {tuple(one.split()) for one in UNGIVEN} - set(proposed_options()) == set()
