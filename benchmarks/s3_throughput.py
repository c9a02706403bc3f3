"""`docclf s3-push` against plain boto3 `upload_file` of the same file, in turn, against a real server on this machine.

Both begin as a new program does, with a session and a client of their own; only Python's imports are not counted. The
push reads the file twice (its SHA-256 is its key), has every part verified by the server with SHA-256, looks for
what is there, and writes a manifest; `upload_file` sends the bytes with boto3's default checksum.

    python benchmarks/s3_throughput.py [--megabytes 200] [--repeats 7]
"""

import argparse
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))
import s3_server

from docclf_cli.profile.schema import S3Config
from docclf_cli.services.storage.push import push
from docclf_cli.services.storage.s3 import resolve_target


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--megabytes", type=int, default=200)
    parser.add_argument("--repeats", type=int, default=7)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, s3_server.running(Path(folder) / "s3") as server:
        os.environ.update(server.environment())
        measure(server, Path(folder) / "best.ckpt", options.megabytes, options.repeats)


def measure(server: s3_server.S3Server, path: Path, megabytes: int, repeats: int) -> None:
    ratios = []
    for number in range(repeats + 1):
        path.write_bytes(os.urandom(megabytes * 1_000_000))  # new content, or there would be nothing to send
        plain, pushed = (0.0, 0.0)
        for way in ("plain", "push") if number % 2 else ("push", "plain"):
            began = time.perf_counter()
            if way == "plain":
                server.client().upload_file(str(path), s3_server.BUCKET, f"plain-{number}")
                plain = time.perf_counter() - began
            else:
                push([path], resolve_target(S3Config()), name=f"model-{number}")
                pushed = time.perf_counter() - began
        if number == 0:
            continue  # imports and first connections
        ratios.append(plain / pushed)
        print(f"upload_file {megabytes / plain:6.1f} MB/s   s3-push {megabytes / pushed:6.1f} MB/s   {ratios[-1]:.2f}x")
    print(f"s3-push / upload_file, median of {repeats}: {statistics.median(ratios):.2f}x")


if __name__ == "__main__":
    main()
