"""The default recipe of timm's training script, trained by docclf's own engine: what docclf's profiles have to beat.

Training pages are cut at random from the page files by timm's own transforms (8 to 100 % of the page, mirrored, colours
shaken), label smoothing is 0.1, and the best epoch is that of the clean validation pages. Scored is the centre square of
a page (timm would cut another eighth off; this is kinder). Everything else is the recipe of the profile that is compared
with, and the run that is left is scored by `docclf evaluate` as any other.

    python benchmarks/timm_recipe.py --data ROOT [--groups FILE] [--profile laptop] [--seed 0] [--output runs] [--name timm]
    docclf evaluate --checkpoint runs/timm --split test
"""

import argparse
import random

import numpy as np
import torch
from PIL import Image
from timm.data import create_transform

from docclf_cli.data.loading.datasets import TrainingDataset
from docclf_cli.engine.training import job as assembly
from docclf_cli.events import EpochDone, Event
from docclf_cli.profile.load import load_profile
from docclf_cli.tasks.train import train


class RandomResizedCrops(TrainingDataset):
    """Training pages as timm's script would vary them."""

    def _augmented(self, epoch: int, position: int) -> np.ndarray:
        row = int(self.rows[position])
        seed = int(np.random.default_rng((self.seed, epoch, row)).integers(2**31))
        random.seed(seed)
        torch.manual_seed(seed)
        size = self.pages.preprocess.size
        with Image.open(self.pages.index.path(row)) as page:
            varied = create_transform(size, is_training=True, use_prefetcher=True)(page.convert("RGB"))
        return np.asarray(varied).transpose(1, 2, 0)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True)
    parser.add_argument("--groups")
    parser.add_argument("--profile", default="laptop")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", default="runs")
    parser.add_argument("--name", default="timm")
    options = parser.parse_args()
    assembly.TrainingDataset = RandomResizedCrops  # type: ignore[misc]
    changes = {
        "data.root": options.data,
        "data.groups": options.groups,
        "data.resize_mode": "crop",
        "loss.params.label_smoothing": 0.1,
        "train.monitor": "f1_macro",
        "seed": options.seed,
        "output": options.output,
        "name": options.name,
    }
    train(load_profile(options.profile, options=changes).profile, emit=say)


def say(event: Event) -> None:
    if isinstance(event, EpochDone):
        print(event.epoch, {name: round(value, 4) for name, value in event.metrics.items()}, flush=True)


if __name__ == "__main__":
    main()
