"""How often the cues of the layout alone tell an upright page from the same page upside down, at several sizes.

A logistic regression without intercept, on pages that count as upright as they lie; five folds (groups kept together), three times.

    python benchmarks/layout_cues.py FOLDER LABELS.csv [--groups GROUPS.csv] [--sizes 160 224 320 512]

The tables have the columns ID (a file in FOLDER) and target, or ID and group.
"""

import argparse
import csv
from pathlib import Path

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GroupKFold

from docclf_cli.data.images.decode import read_page
from docclf_cli.data.images.layout_cues import layout_cues
from docclf_cli.data.images.preprocess import Preprocess

REPEATS, FOLDS, LARGEST = 3, 5, 3


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("labels", type=Path)
    parser.add_argument("--groups", type=Path)
    parser.add_argument("--sizes", type=int, nargs="+", default=[160, 224, 320, 512])
    options = parser.parse_args()
    target_of = column(options.labels, "target")
    group_of = column(options.groups, "group") if options.groups else {}
    ids = list(target_of)
    targets, groups = np.array(list(target_of.values())), np.array([group_of.get(one, one) for one in ids])
    for size in options.sizes:
        preprocess = Preprocess(size)
        pages = (read_page(options.folder / one, preprocess, max_pixels=10**8) for one in ids)
        cues = np.stack([layout_cues(np.ascontiguousarray(page[..., 1])) for page in pages])[:, :-1]
        right = told_upright(cues, groups)
        classes = " ".join(f"{name}: {right[targets == name].mean():.2f}" for name in sorted(set(targets)))
        print(f"{size} pixels: {right.mean():.3f} right; {classes}", flush=True)


def column(table: Path, name: str) -> dict[str, str]:
    """Values of a column by ID."""
    with table.open(encoding="utf-8", newline="") as file:
        return {row["ID"]: row[name] for row in csv.DictReader(file)}


def told_upright(cues: np.ndarray, groups: np.ndarray) -> np.ndarray:
    """How often each page is told from the same page upside down, whose cues have the other sign; 0 to 1, float64 [n]."""
    cues = np.clip(cues / np.maximum(np.sqrt(np.square(cues).mean(axis=0)), 1e-9), -LARGEST, LARGEST)
    right = np.zeros(len(cues))
    for repeat in range(REPEATS):
        for train, test in GroupKFold(FOLDS, shuffle=True, random_state=repeat).split(cues, groups=groups):
            both, upright = np.concatenate([cues[train], -cues[train]]), np.repeat([1, 0], len(train))
            model = LogisticRegression(fit_intercept=False, C=0.1).fit(both, upright)
            right[test] += (cues[test] @ model.coef_[0] > 0) / REPEATS
    return right


if __name__ == "__main__":
    main()
