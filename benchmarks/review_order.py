"""How many labels `docclf review --learn` needs in the order that it offers, against pages at random: a simulated annotator.

    python benchmarks/review_order.py features DATA features.npz                  # once: DATA/train, train.csv, train_groups.csv
    python benchmarks/review_order.py simulate features.npz out.jsonl --seeds 20  # labels, fits, scores
    python benchmarks/review_order.py table out.jsonl

Each seed cuts the pages into five folds with groups kept together. Each fold in turn is held out, and the other pages are
the pool: they are labelled in the order of a strategy, the first 10 at once, then 20 a round, with a fit after each round, as
`review --learn` does. The macro-F1 after n labels is that of the held-out pages of all five folds together. The labels that a
target needs are read off that curve, between two rounds along a straight line. Only training pages are read.
"""

import argparse
import csv
import json
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from sklearn.cluster import KMeans
from sklearn.metrics import f1_score
from sklearn.model_selection import StratifiedGroupKFold

from docclf_cli.data.images.page_files import PageReader
from docclf_cli.engine.training.frozen_backbone import pretrained_backbone
from docclf_cli.engine.training.logistic import fit_logistic, probe_folds
from docclf_cli.profile.load import load_profile
from docclf_cli.profile.schema import RuntimeConfig
from docclf_cli.tasks.review.learning import COVERED_FIRST, FIRST_LABELS
from docclf_cli.tasks.review.query_order import by_margin, directions, margins_of, uncovered

FOLDS, A_ROUND = 5, 20
TARGETS = (0.90, 0.95)
# A strategy: (features of the pool, log-probabilities or None before the first fit, features of labelled pages, number
# wanted, seed) -> rows of the pool.
Strategy = Callable[[np.ndarray, np.ndarray | None, np.ndarray, int, int], np.ndarray]


def at_random(
    pool: np.ndarray, log_probs: np.ndarray | None, labelled: np.ndarray, count: int, seed: int
) -> np.ndarray:
    return np.random.default_rng(seed).permutation(len(pool))[:count]


def offered(pool: np.ndarray, log_probs: np.ndarray | None, labelled: np.ndarray, count: int, seed: int) -> np.ndarray:
    """Clusters without a label, large ones first; from 50 labels on the smallest margins of each predicted class in turn."""
    if len(labelled) >= COVERED_FIRST and log_probs is not None:
        return by_margin(log_probs)[:count]
    known = np.arange(len(pool) + len(labelled)) >= len(pool)
    return uncovered(np.concatenate([pool, labelled]), known, count, seed)


def representatives(features: np.ndarray, count: int, seed: int) -> np.ndarray:
    return uncovered(features, np.zeros(len(features), bool), count, seed)


def margins_early(
    pool: np.ndarray, log_probs: np.ndarray | None, labelled: np.ndarray, count: int, seed: int
) -> np.ndarray:
    """Representatives, and after the first ten labels margins at once; `review` offered this before."""
    return representatives(pool, 2 * count, seed)[:count] if log_probs is None else by_margin(log_probs)[:count]


def random_start(
    pool: np.ndarray, log_probs: np.ndarray | None, labelled: np.ndarray, count: int, seed: int
) -> np.ndarray:
    return at_random(pool, None, labelled, count, seed) if log_probs is None else by_margin(log_probs)[:count]


def as_many(pool: np.ndarray, log_probs: np.ndarray | None, labelled: np.ndarray, count: int, seed: int) -> np.ndarray:
    """As many clusters as pages are wanted."""
    return representatives(pool, count, seed) if log_probs is None else by_margin(log_probs)[:count]


def plain_margin(
    pool: np.ndarray, log_probs: np.ndarray | None, labelled: np.ndarray, count: int, seed: int
) -> np.ndarray:
    """Smallest margins, whatever the class."""
    return representatives(pool, count, seed) if log_probs is None else np.argsort(margins_of(log_probs))[:count]


def cluster_margin(
    pool: np.ndarray, log_probs: np.ndarray | None, labelled: np.ndarray, count: int, seed: int
) -> np.ndarray:
    """Representatives of the pages with small margins, five times as many as are wanted (Citovsky et al. 2021)."""
    if log_probs is None:
        return representatives(pool, count, seed)
    uncertain = np.argsort(margins_of(log_probs), kind="stable")[: 5 * count]
    return uncertain[representatives(pool[uncertain], count, seed)]


def weighted_clusters(
    pool: np.ndarray, log_probs: np.ndarray | None, labelled: np.ndarray, count: int, seed: int
) -> np.ndarray:
    """Centres of k-means with uncertainty as weight (Zhdanov 2019)."""
    if log_probs is None:
        return representatives(pool, count, seed)
    points, weights = directions(pool), 1 - margins_of(log_probs) + 1e-4
    found = KMeans(min(count, len(pool)), n_init=1, random_state=seed).fit(points, sample_weight=weights)
    return _nearest(points, found.labels_, found.cluster_centers_)


def _nearest(points: np.ndarray, clusters: np.ndarray, centres: np.ndarray) -> np.ndarray:
    rows = []
    for cluster in np.unique(clusters):
        members = np.flatnonzero(clusters == cluster)
        rows.append(members[((points[members] - centres[cluster]) ** 2).sum(axis=1).argmin()])
    return np.array(rows, dtype=np.int64)


STRATEGIES: dict[str, Strategy] = {
    strategy.__name__: strategy
    for strategy in (
        at_random, offered, margins_early, random_start, as_many, plain_margin, cluster_margin, weighted_clusters
    )
}  # fmt: skip


def write_features(data: Path, path: Path) -> None:
    """Features of the plain training pages, as `review --learn` computes them."""
    labels = {row["ID"]: row["target"] for row in csv.DictReader((data / "train.csv").open())}
    groups = {row["ID"]: row["group"] for row in csv.DictReader((data / "train_groups.csv").open())}
    backbone = pretrained_backbone(load_profile("instant").profile, RuntimeConfig())
    reader, found = PageReader(10**9), []
    for start in range(0, len(labels), 32):
        names = list(labels)[start : start + 32]
        pages = np.stack([reader.read(data / "train" / name, None, 0, backbone.preprocess) for name in names])
        found.append(backbone(pages)[0])
    ids = list(labels)
    np.savez(
        path,
        features=np.concatenate(found),
        labels=np.array([int(labels[name]) for name in ids]),
        groups=np.array([groups[name] for name in ids]),
    )


def fitted(features: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Classes, weights and biases, from labelled pages alone."""
    classes, rows = np.unique(labels, return_inverse=True)
    found = fit_logistic(features, rows, probe_folds(rows, None, len(classes), 0), np.ones(len(rows)), len(classes))
    return classes, found.weight, found.bias


def curve(
    name: str, seed: int, features: np.ndarray, labels: np.ndarray, groups: np.ndarray, most: int
) -> dict[int, float]:
    """Macro-F1 of the held-out pages of all folds by number of labels."""
    said: dict[int, list[tuple[np.ndarray, np.ndarray]]] = {}
    cut = StratifiedGroupKFold(FOLDS, shuffle=True, random_state=seed)
    for fold, (pool, out) in enumerate(cut.split(features, labels, groups)):
        left, labelled, log_probs = pool, np.empty(0, np.int64), None
        while len(labelled) < most and len(left):
            count = A_ROUND if len(labelled) else FIRST_LABELS
            rows = STRATEGIES[name](features[left], log_probs, features[labelled], count, 1000 * seed + fold)
            labelled = np.concatenate([labelled, left[rows]])
            left = np.delete(left, rows)
            classes, weight, bias = fitted(features[labelled], labels[labelled])
            said.setdefault(len(labelled), []).append((out, classes[(features[out] @ weight.T + bias).argmax(axis=1)]))
            if len(classes) > 1:
                log_probs = torch.log_softmax(torch.as_tensor(features[left] @ weight.T + bias), dim=1).numpy()
    return {
        count: float(f1_score(labels[np.concatenate([out for out, _ in one])], np.concatenate([guess for _, guess in one]), average="macro"))
        for count, one in said.items()
        if len(one) == FOLDS
    }  # fmt: skip


def labels_needed(points: dict[int, float], target: float) -> float:
    """Labels at which a curve first reaches a target; NaN where it never does."""
    before = (0, 0.0)
    for count, value in sorted(points.items()):
        if value >= target:
            return before[0] + (count - before[0]) * (target - before[1]) / (value - before[1])
        before = count, value
    return float("nan")


def simulate(path: Path, output: Path, names: list[str], seeds: range, most: int) -> None:
    torch.set_num_threads(1)
    with np.load(path) as content:
        features, labels = content["features"].astype(np.float32), content["labels"]
        _, groups = np.unique(content["groups"], return_inverse=True)
    done = set()
    if output.exists():
        done = {(one["strategy"], one["seed"]) for one in map(json.loads, output.read_text().splitlines())}
    for seed in seeds:
        for name in names:
            if (name, seed) in done:
                continue
            started = time.monotonic()
            points = curve(name, seed, features, labels, groups, most)
            with output.open("a") as file:
                seconds = round(time.monotonic() - started, 1)
                file.write(json.dumps({"strategy": name, "seed": seed, "curve": points, "seconds": seconds}) + "\n")


def table(output: Path) -> None:
    """Labels needed in the mean, and their ratio to pages at random with a 95 % interval over the seeds (paired, percentile)."""
    curves: dict[str, dict[int, dict[int, float]]] = {}
    for line in output.read_text().splitlines():
        one = json.loads(line)
        points = {int(count): value for count, value in one["curve"].items()}
        curves.setdefault(one["strategy"], {})[one["seed"]] = points
    rng = np.random.default_rng(0)
    for target in TARGETS:
        print(f"macro-F1 {target}")
        for name, found in curves.items():
            seeds = sorted(set(found) & set(curves["at_random"]))
            pairs = np.array(
                [[labels_needed(curves[one][seed], target) for one in (name, "at_random")] for seed in seeds]
            )
            both = ~np.isnan(pairs).any(axis=1)
            reached = (~np.isnan(pairs)).sum(axis=0)
            text = f"  {name:18} {len(seeds)} seeds, reached by {reached[0]} (random {reached[1]})"
            if both.any():
                pairs = pairs[both]
                draws = pairs[rng.integers(0, len(pairs), (10_000, len(pairs)))].mean(axis=1)
                low, high = np.quantile(draws[:, 0] / draws[:, 1], [0.025, 0.975])
                mean = pairs.mean(axis=0)
                text += f": {mean[0]:.0f} labels against {mean[1]:.0f}, ratio {mean[0] / mean[1]:.2f} ({low:.2f}–{high:.2f})"
            print(text)
    for name, found in curves.items():
        counts = sorted(set.intersection(*(set(one) for one in found.values())))
        shown = [f"{count}: {np.mean([one[count] for one in found.values()]):.3f}" for count in counts]
        print(f"{name:18} {' '.join(shown)}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parts = parser.add_subparsers(dest="part", required=True)
    part = parts.add_parser("features")
    part.add_argument("data", type=Path)
    part.add_argument("path", type=Path)
    part = parts.add_parser("simulate")
    part.add_argument("path", type=Path)
    part.add_argument("output", type=Path)
    part.add_argument("--strategies", default="at_random,offered")
    part.add_argument("--first", type=int, default=0)
    part.add_argument("--seeds", type=int, default=20)
    part.add_argument("--labels", type=int, default=330, help="how many are given at most")
    parts.add_parser("table").add_argument("output", type=Path)
    args = parser.parse_args()
    if args.part == "features":
        write_features(args.data, args.path)
    elif args.part == "simulate":
        seeds = range(args.first, args.first + args.seeds)
        simulate(args.path, args.output, args.strategies.split(","), seeds, args.labels)
    else:
        table(args.output)


if __name__ == "__main__":
    main()
