"""What frozen batch norms save in a training step, and folding them into the convolutions.

    python benchmarks/frozen_norms.py [--models tf_efficientnet_lite0,resnet18] [--sizes 160,224] [--batch 16] [--rounds 3]

Networks with random weights train on noise that is in memory: with the statistics of each batch, and with frozen statistics that are
computed in the convolutions (`train.batch_norm`). The two take turns in every round, so that other work on the machine slows both;
milliseconds a page, medians over the rounds, and their ratio.
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
from docclf_cli.profile.schema import ModelConfig, RuntimeConfig

CLASSES = 9


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
    for name in args.models.split(","):
        for size in map(int, args.sizes.split(",")):

            def build(name: str = name, size: int = size) -> torch.nn.Module:
                return create_model(ModelConfig(model_name=name), CLASSES, weights=False, image_size=size)

            plain = Workload(build, runtime, CLASSES, size, args.batch, args.batch, training=True)
            frozen = replace(plain, frozen_norms=True)
            turns = [(seconds_per_page(plain, 4), seconds_per_page(frozen, 4)) for _ in range(args.rounds)]
            each, kept = (1000 * statistics.median(column) for column in zip(*turns, strict=True))
            print(
                f"{name:26} {size} px  of each batch {each:6.1f}  frozen {kept:6.1f}  ratio {kept / each:.2f}",
                flush=True,
            )


if __name__ == "__main__":
    main()
