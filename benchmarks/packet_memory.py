"""Peak memory of `docclf split-packets` for packets of 200 and 2,000 pages, made of the pages of real PDFs.

Of the command itself and of the largest of its loader processes, in MB (resident).

    python benchmarks/packet_memory.py RUN FOLDER_OF_PDFS [--write]
"""

import argparse
import itertools
import os
import subprocess
import sys
import tempfile
import time
import warnings
from pathlib import Path

import pikepdf

SIZES = (200, 2000)


def make(path: Path, sources: list[Path], pages: int) -> Path:
    """A PDF of so many pages; a page that comes again is a copy of its own."""
    packet, opened = pikepdf.Pdf.new(), list[pikepdf.Pdf]()
    for source in itertools.cycle(sources):
        opened.append(pikepdf.open(source))
        packet.pages.extend(opened[-1].pages[: pages - len(packet.pages)])
        if len(packet.pages) == pages:
            break
    packet.save(path)
    return path


def resident(process: int) -> float:
    """Megabytes of a process; 0 where it has ended."""
    try:
        pages = int(Path(f"/proc/{process}/statm").read_text().split()[1])
    except OSError:
        return 0.0
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--write", action="store_true")
    options = parser.parse_args()
    warnings.filterwarnings("ignore", category=UserWarning)  # forms of these documents do not matter here
    sources = sorted(options.folder.rglob("*.pdf"))
    with tempfile.TemporaryDirectory() as place:
        for size in SIZES:
            packet = make(Path(place) / f"{size}.pdf", sources, size)
            write = ["--write", f"{place}/parts-{size}"] if options.write else []
            command = [
                sys.executable,
                "-m",
                "docclf_cli",
                "split-packets",
                options.run,
                str(packet),
                "--text",
                "layer",
                *write,
            ]
            running = subprocess.Popen([*command, "--quiet"], stdout=subprocess.DEVNULL)
            started, own, largest = time.monotonic(), 0.0, 0.0
            while running.poll() is None:
                own = max(own, resident(running.pid))
                children = Path(f"/proc/{running.pid}/task/{running.pid}/children")
                loaders = children.read_text().split() if children.exists() else []
                largest = max([largest, *(resident(int(one)) for one in loaders)])
                time.sleep(0.2)
            seconds = time.monotonic() - started
            print(
                f"{size} pages, {packet.stat().st_size / 1e6:.0f} MB: command {own:.0f} MB, loader {largest:.0f} MB, "
                f"{seconds:.0f} s, exit code {running.returncode}"
            )


if __name__ == "__main__":
    main()
