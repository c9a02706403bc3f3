"""How many images a forward pass on the CPU should take, and what folding the batch norms gains.

    python benchmarks/forward_pass.py [--models tf_efficientnet_lite0,resnet18] [--batches 8,16,32,64] [--rounds 7] [--onnx FILE]

Networks with random weights look at 224-pixel images that are in memory, with two threads. All combinations take turns in every
round, so that other work on the machine slows all of them; medians over the rounds. Processor time is that of both threads. Files that
`docclf export` made (in fp32 or int8) take turns with them: `--models` then names their architecture.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from pathlib import Path

from docclf_cli.hardware import limit_thread_spinning

limit_thread_spinning()

import torch  # after the setting that it reads

from docclf_cli.data.images.preprocess import Preprocess
from docclf_cli.engine.inference.onnx_backend import load_onnx
from docclf_cli.engine.inference.predictor import FOR_ONNX, Network
from docclf_cli.engine.runtime.device import resolve_runtime
from docclf_cli.engine.runtime.folded_norms import without_batch_norms
from docclf_cli.models.factory import create_model
from docclf_cli.profile.schema import ModelConfig, RuntimeConfig

IMAGES, CLASSES = 64, 9  # images in each measurement


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", default="tf_efficientnet_lite0,mobilenetv3_small_100,resnet18")
    parser.add_argument("--batches", default="8,16,32,64")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--onnx", type=Path, action="append", default=[], help="an exported file (repeatable)")
    args = parser.parse_args()
    config = RuntimeConfig(device="cpu", precision="fp32", memory_format="channels_last", threads=args.threads)
    runtime = resolve_runtime(config)
    for_onnx = resolve_runtime(FOR_ONNX.model_copy(update={"threads": args.threads}))
    preprocess = Preprocess(args.size, "letterbox", (0.5,) * 3, (0.5,) * 3)
    images = torch.randint(0, 256, (IMAGES, 3, args.size, args.size), dtype=torch.uint8)
    batches = [int(text) for text in args.batches.split(",")]
    print(f"load average {os.getloadavg()[0]:.1f}, {args.threads} threads, ms a page: wall, processor")
    for name in args.models.split(","):
        model = create_model(ModelConfig(model_name=name), CLASSES, weights=False, image_size=args.size)
        plain = runtime.place(model).eval()
        networks = {
            "batch norms": Network(plain, preprocess, runtime),
            "folded": Network(without_batch_norms(plain, args.size, runtime), preprocess, runtime),
        }
        networks |= {path.name: Network(load_onnx(path), preprocess, for_onnx) for path in args.onnx}
        times: dict[tuple[str, int], list[tuple[float, float]]] = {}
        for turn in range(args.rounds + 1):
            for kind, network in networks.items():
                for batch in batches:
                    began = time.perf_counter(), time.process_time()
                    for start in range(0, IMAGES, batch):
                        network.outputs(images[start : start + batch])
                    spent = time.perf_counter() - began[0], time.process_time() - began[1]
                    if turn:  # the first one warms up
                        times.setdefault((kind, batch), []).append(spent)
        for (kind, batch), spent_ in times.items():
            wall, processor = (statistics.median(column) / IMAGES * 1000 for column in zip(*spent_, strict=True))
            print(f"{name:26} {kind:16} {batch:3} images {wall:6.1f} {processor:6.1f}", flush=True)


if __name__ == "__main__":
    main()
