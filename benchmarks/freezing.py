"""What freezing saves in a training step: the statistics of batch norms, the first stages, and both.

    python benchmarks/freezing.py [--models tf_efficientnet_lite0,resnet18] [--sizes 160,224] [--batch 16] [--rounds 3]

Networks with random weights train on noise that is in memory. All take turns in every round, so that other work on the machine slows
them alike; milliseconds a page, medians over the rounds, and their ratio to a step in which nothing is frozen. On a CPU, frozen norms
are computed in the convolutions before them.
"""

from __future__ import annotations

import argparse
import os
import statistics
from dataclasses import replace

from docclf_cli.hardware import limit_thread_spinning

limit_thread_spinning()

import torch  # after the setting that it reads

from docclf_cli.engine.runtime.allocator import keep_freed_memory
from docclf_cli.engine.runtime.device import resolve_runtime
from docclf_cli.engine.runtime.numerics_benchmark import Workload, seconds_per_page
from docclf_cli.models.factory import create_model
from docclf_cli.models.freezing import Freezing
from docclf_cli.profile.schema import ModelConfig, RuntimeConfig

CLASSES = 9
NOTHING = "nothing"
WAYS = {
    NOTHING: Freezing(),
    "norms": Freezing(norms=True),
    "stages": Freezing(stages="auto"),
    "both": Freezing(stages="auto", norms=True),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", default="tf_efficientnet_lite0,resnet18")
    parser.add_argument("--sizes", default="160,224")
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args()
    keep_freed_memory()
    config = RuntimeConfig(device="cpu", precision="fp32", memory_format="channels_last", threads=args.threads)
    runtime = resolve_runtime(config)
    print(f"load average {os.getloadavg()[0]:.1f}, {args.threads} threads, batches of {args.batch}, ms a page")
    for network in args.models.split(","):
        for size in map(int, args.sizes.split(",")):

            def build(name: str = network, size: int = size) -> torch.nn.Module:
                return create_model(ModelConfig(model_name=name), CLASSES, weights=False, image_size=size)

            plain = Workload(build, runtime, CLASSES, size, args.batch, args.batch, training=True)
            ways = {name: replace(plain, frozen=frozen) for name, frozen in WAYS.items()}
            turns = [{name: seconds_per_page(way, 4) for name, way in ways.items()} for _ in range(args.rounds)]
            found = {name: 1000 * statistics.median(turn[name] for turn in turns) for name in ways}
            ratios = "  ".join(f"{name} {each:.1f} ({each / found[NOTHING]:.2f})" for name, each in found.items())
            print(f"{network:24} {size} px  {ratios}", flush=True)


if __name__ == "__main__":
    main()
