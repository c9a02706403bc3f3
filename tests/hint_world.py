"""A folder in which every command that a message proposes can be run: pages, packets, runs, and what commands wrote."""

import shlex
import shutil
from pathlib import Path

import numpy as np
import timm
import torch
from cli_process import HOOK, CliProcess, Outcome
from packet_cases import CLASSES, write_documents, write_packet
from page_cases import write_tiff
from PIL import Image
from text_cases import write_text_pdf

from docclf_cli.files import sha256_of

SPACED = "runs/with a space"
# Whatever profile is named, training is a matter of seconds: a folder's own profiles come before those of docclf.
SHORT_TRAINING = """\
data: {image_size: 48, val_fraction: 0.3, degraded_validation: false}
model: {name: test_resnet, pretrained: false}
optimizer: {name: adamw, lr: 0.003}
augmentation: none
train: {epochs: 1, batch_size: 16, upright: 0}
text: "off"
tracking: {backend: none}
"""
ENSEMBLE = "ensemble: {models: [{run: runs/mine}, {run: runs/other}]}\n"
PROFILES = ("config", "laptop", "brief", "scratch", "instant", "quickstart")


class HintWorld:
    """Makes the folder, and runs commands in it.

    Args:
        folder: Where it lies.
        cache_home: Cache folder of the test session.
    """

    def __init__(self, folder: Path, cache_home: Path) -> None:
        self.folder = folder
        self._env = {"XDG_CACHE_HOME": str(cache_home), "COLUMNS": "120"}

    def run(self, command: str, *, code: int = 0, **env: str) -> Outcome:
        """Run `docclf COMMAND` in the folder.

        Raises:
            AssertionError: It ended with another exit code.
        """
        outcome = CliProcess(tuple(shlex.split(command)), self.folder, {**self._env, **env}).wait()
        assert outcome.code == code, f"docclf {command}\n{outcome.stderr}"
        return outcome

    def build(self) -> None:
        """Draw pages, train three runs, and let commands write what other commands read."""
        folder = self.folder
        (folder / "configs").mkdir(parents=True)
        for name in PROFILES:
            (folder / "configs" / f"{name}.yaml").write_text(SHORT_TRAINING)
        (folder / "configs" / "both.yaml").write_text(ENSEMBLE)
        write_documents(folder / "my" / "pages" / "train", 14)
        write_documents(folder / "my" / "pages" / "test", 3)
        for part, count in (("train", 14), ("test", 3)):  # what tells unknown pages takes a third class
            for number in range(count):
                path = folder / "my" / "pages" / part / "letter" / f"{number}.pdf"
                write_text_pdf(
                    path, [f"Dear reader {number},\nthank you for your letter of May {number}.\nYours sincerely"]
                )
        for name in CLASSES:
            for place, count in (("scans", 3), ("my/few", 12)):
                (folder / place / name).mkdir(parents=True)
                for number in range(count):
                    _draw(folder / place / name / f"{name}-{number}.png", seed=number)
        again = folder / "my" / "few" / CLASSES[0] / "again.png"  # something for an audit to find
        shutil.copy(again.with_name(f"{CLASSES[0]}-0.png"), again)
        write_packet(folder / "packet.pdf", [("contract", 50), ("invoice", 52), ("contract", 53)])
        for name in ("letter.pdf", "page.pdf"):
            shutil.copy(folder / "my" / "pages" / "test" / "contract" / "1.pdf", folder / name)
        (folder / "inbox" / "today").mkdir(parents=True)
        write_tiff(folder / "inbox" / "today" / "fax.tif", [1, 2])
        shutil.copy(folder / "packet.pdf", folder / "inbox" / "packet.pdf")
        self.run("train my/pages --name other --seed 1")
        self.run("export runs/other")
        self.run("train my/few --name folds --folds 2")
        self.run("train my/few --name sure --epochs 10")  # for a confidence threshold
        self.run("train my/pages --name stopped --epochs 3", code=143, **{HOOK: "signal 15 at epoch 1"})
        self.run("train my/pages --name reads --model text --set text=layer")
        self.run("train my/pages --name mine --packets --set train.upright=2")  # last: the newest finished run
        student = "distill my/pages --teacher runs/mine --model test_vit --name stopped-student --epochs 3"
        self.run(student, code=143, **{HOOK: "signal 15 at epoch 1"})
        shutil.copytree(folder / "runs" / "mine", folder / SPACED)
        self.run("evaluate runs/mine --target-precision 0.6")
        self.run("audit --run runs/folds --name check")
        self.run("predict runs/mine scans/")
        self.run("predict runs/mine scans/ --output today.csv")
        self.run("predict runs/mine scans/ --part 1/1 --output parts")
        self.run("split-packets runs/mine packet.pdf --output documents.csv")
        kept = next((folder / "runs" / "mine" / "predictions").glob("val-*.npz"))
        shutil.copy(kept, folder / "kept.npz")
        self._write_tables()

    def _write_tables(self) -> None:
        folder = self.folder
        pages = sorted((folder / "scans").rglob("*.png"))
        rows = [f"{one.relative_to(folder / 'scans')},{one.parent.name}" for one in pages]
        (folder / "scans.csv").write_text("\n".join(["ID,target", *rows]) + "\n")
        (folder / "list.txt").write_text("\n".join(str(one.relative_to(folder)) for one in pages) + "\n")
        labels = [f"added/{number}.png,{CLASSES[number % 2]},{one}" for number, one in enumerate(self._strangers())]
        (folder / "review_labels.csv").write_text("\n".join(["ID,target,path", *labels]) + "\n")
        prices = ["true,contract,invoice,letter,review", "contract,0,5,5,1", "invoice,5,0,5,1", "letter,5,5,0,1"]
        (folder / "costs.csv").write_text("\n".join(prices) + "\n")
        (folder / "mine.yaml").write_text("optimizer:\n  lr: {low: 1.0e-4, high: 1.0e-2, log: true}\n")
        (folder / "notify.py").write_text("import sys; sys.stdin.read()\n")
        (folder / "cuts.csv").write_text(f"sha256,page,decision\n{sha256_of(folder / 'packet.pdf')},2,join\n")
        (folder / "relabel.csv").write_text(f"ID,target\n{CLASSES[0]}/{CLASSES[0]}-1.png,{CLASSES[1]}\n")
        torch.save(timm.create_model("test_resnet").state_dict(), folder / "weights.pth")

    def _strangers(self) -> list[Path]:
        for folder in ("strangers", "other-pages"):
            (self.folder / folder).mkdir()
            for number in range(12):
                _draw(self.folder / folder / f"{number}.png", seed=100 + number)
        return sorted((self.folder / "strangers").iterdir())


def _draw(path: Path, seed: int) -> None:
    """A page of noise, darker in the first class; no two are alike, so that none has to be compared closely."""
    tone = 0 if path.name.startswith(CLASSES[0]) else 120
    noise = np.random.default_rng((seed, tone)).integers(tone, tone + 130, (60, 45, 3), dtype=np.uint8)
    Image.fromarray(noise).save(path)
