"""How often the intervals hold the truth: by simulation, where the truth is known.

    python benchmarks/interval_coverage.py            # the tables of the documentation, about five minutes
    python benchmarks/interval_coverage.py --repeats 200

Every repeat draws a classifier (true rates of confusion: each class has its recall, its mistakes go to other
classes unevenly), draws its confusion matrix for the pages at hand, and asks whether the intervals hold the
classifier's true figures. 95 % are promised.
"""

import argparse

import numpy as np

from docclf_cli.metrics.calibration import BINS, calibration_error
from docclf_cli.metrics.compare import mcnemar, paired_difference
from docclf_cli.metrics.confusion import FIGURES, counts_of, f1_scores, precisions
from docclf_cli.metrics.intervals import bootstrap_mean, wilson
from docclf_cli.metrics.posterior import CLASS_PRIOR_ERRORS, DRAWN, figures_of_classes, posterior_counts
from docclf_cli.metrics.thresholds import find_threshold
from docclf_cli.results.figures import Estimate
from docclf_cli.results.predictions import Predictions

DRAWS = 400  # fewer than the product takes; the coverage hardly depends on it


def rates(classes: int, recall: float, rng: np.random.Generator) -> np.ndarray:
    """True rates of confusion, [classes, classes]: most mistakes of a class go to a few others."""
    table = np.zeros((classes, classes))
    for row in range(classes):
        table[row, np.arange(classes) != row] = (1 - recall) * rng.dirichlet(np.full(classes - 1, 0.4))
    np.fill_diagonal(table, recall)
    return table


def holds(estimate: Estimate, truth: float) -> bool:
    return estimate.low <= truth + 1e-12 and truth <= estimate.high + 1e-12


def class_intervals(matrix: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Bounds of the per-class F1, [2, classes], as `score` makes them."""
    value = f1_scores(counts_of(matrix))
    drawn = f1_scores(posterior_counts(matrix, CLASS_PRIOR_ERRORS, rng, DRAWS))
    low, high = np.quantile(drawn, [0.025, 0.975], axis=0)
    return np.stack([np.minimum(low, value), np.maximum(high, value)])


def confusion_row(support: np.ndarray, recall: float, repeats: int, rng: np.random.Generator) -> dict[str, float]:
    """Coverage of everything that follows from the confusion matrix, and the narrowest interval seen."""
    seen: dict[str, list[float]] = {}
    for _ in range(repeats):
        true_rates = rates(len(support), recall, rng)
        truth = counts_of(true_rates * support[:, None])
        matrix = np.stack([rng.multinomial(n, row) for n, row in zip(support, true_rates, strict=True)])
        counts = counts_of(matrix)
        accuracy = wilson(counts.hits.sum(), support.sum())
        recall_of = [wilson(hits, pages) for hits, pages in zip(counts.hits, support, strict=True)]
        precision_of = [wilson(h, n) for h, n in zip(counts.hits, counts.predicted, strict=True) if n]
        true_precision = precisions(truth)[counts.predicted > 0]
        low, high = class_intervals(matrix, rng)
        pooled = figures_of_classes(matrix, rng, draws=DRAWS)
        record = {
            "accuracy": holds(accuracy, float(FIGURES["accuracy"](truth))),
            "recall": np.mean([holds(one, recall) for one in recall_of]),
            "precision": np.mean([holds(*pair) for pair in zip(precision_of, true_precision, strict=True)]),
            "F1": np.mean((low <= f1_scores(truth)) & (f1_scores(truth) <= high)),
            **{name: holds(pooled[name], float(FIGURES[name](truth))) for name in DRAWN},
            "narrowest": min((high - low).min(), *(pooled[name].high - pooled[name].low for name in DRAWN)),
        }
        for name, value in record.items():
            seen.setdefault(name, []).append(float(value))
    return {name: min(values) if name == "narrowest" else float(np.mean(values)) for name, values in seen.items()}


def confusion_table(classes: int, repeats: int) -> None:
    print(f"\nFigures of the confusion matrix, {classes} classes, {repeats} repeats")
    print("pages  recall  accuracy  recall  precision     F1  balanced  macro-F1  weighted  narrowest")
    mixed = np.resize([10, 30, 100], classes)
    for pages in (10, 30, 100, 0):
        for recall in (0.8, 0.95, 0.99):
            support = np.full(classes, pages) if pages else mixed
            row = confusion_row(support, recall, repeats, np.random.default_rng((classes, pages, int(recall * 100))))
            shares = (row[name] for name in ("accuracy", "recall", "precision", "F1", *DRAWN))
            widths = (8, 6, 9, 5, 8, 8, 8)
            cells = "  ".join(f"{share:{width}.3f}" for share, width in zip(shares, widths, strict=True))
            print(f"{pages or 'mixed':>5}  {recall:6.2f}  {cells}  {row['narrowest']:9.4f}", flush=True)


def labelled_pages(pages: int, scale: float, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Confidence, correctness and true chance to be right of pages whose logits are `scale` times too large."""
    odds = rng.normal(2.5, 1.5, pages)
    chance = 1 / (1 + np.exp(-odds))
    return 1 / (1 + np.exp(-odds * scale)), rng.random(pages) < chance, chance


def true_calibration_error(scale: float, rng: np.random.Generator) -> float:
    """The mean gap of fifteen bins of a million pages, from their true chances."""
    confidence, _, chance = labelled_pages(1_000_000, scale, rng)
    gaps = (confidence - chance)[np.argsort(confidence)]
    return float(np.mean([abs(part.mean()) for part in np.array_split(gaps, BINS)]))


def calibration_table(repeats: int) -> None:
    print(f"\nCalibration error, {repeats} repeats (logits too large by the scale; truth on 1,000,000 pages)")
    print(" pages  scale   truth  mean estimate  coverage")
    for scale in (1.0, 1.3, 2.0):
        rng = np.random.default_rng(int(scale * 10))
        truth = true_calibration_error(scale, rng)
        for pages in (100, 300, 1000):
            found = [calibration_error(*labelled_pages(pages, scale, rng)[:2]) for _ in range(repeats)]
            mean = np.mean([one.value for one in found])
            share = np.mean([holds(one, truth) for one in found])
            print(f"{pages:6d}  {scale:5.1f}  {truth:6.4f}  {mean:13.4f}  {share:8.3f}", flush=True)


def loss_table(repeats: int) -> None:
    print(f"\nLog loss, {repeats} repeats")
    print(" pages  groups of  coverage")
    for pages in (100, 300, 1000):
        for together in (1, 5):
            rng = np.random.default_rng((pages, together))
            odds = rng.normal(2.5, 2.0, 1_000_000)
            truth = np.logaddexp(0, -odds).mean()
            hits = 0
            for _ in range(repeats):
                odds = np.repeat(rng.normal(2.5, 2.0, pages // together), together)
                found = bootstrap_mean(np.logaddexp(0, -odds), np.repeat(np.arange(pages // together), together), rng)
                hits += holds(found, truth)
            print(f"{pages:6d}  {together:9d}  {hits / repeats:8.3f}", flush=True)


def pair(pages: int, only_a: float, only_b: float, rng: np.random.Generator) -> tuple[Predictions, Predictions]:
    """Two classifiers of 9 classes that are right alone on these shares of the pages, and both on most others."""
    classes = 9
    targets = rng.integers(0, classes, pages)
    kind = rng.choice(4, pages, p=[only_a, only_b, 0.03, 0.97 - only_a - only_b])
    wrong_a, wrong_b = (targets + rng.integers(1, classes, (2, pages))) % classes
    named_a = np.where((kind == 0) | (kind == 3), targets, wrong_a)
    named_b = np.where((kind == 1) | (kind == 3), targets, wrong_b)
    names, ids = tuple(f"class {index}" for index in range(classes)), np.arange(pages).astype(str)
    sure = np.log(np.full((classes, classes), 0.1 / (classes - 1)) + np.eye(classes) * 0.88).astype(np.float32)
    return Predictions(ids, sure[named_a], names, targets), Predictions(ids, sure[named_b], names, targets)


def difference_table(repeats: int) -> None:
    print(
        f"\nPaired differences of two equally good classifiers: how often one is called better (5 % at most), "
        f"{repeats} repeats"
    )
    print(" pages  each alone right on  accuracy  macro-F1  log loss  McNemar p < .05")
    for pages in (100, 300, 1000):
        for alone in (0.01, 0.05):
            rng = np.random.default_rng((pages, int(alone * 100)))
            called = np.zeros(4)
            for repeat in range(repeats):
                a, b = pair(pages, alone, alone, rng)
                for place, figure in enumerate(("accuracy", "f1_macro", "log_loss")):
                    found = paired_difference(a, b, figure, seed=repeat)
                    called[place] += found.low > 0 or found.high < 0
                called[3] += mcnemar(a, b) < 0.05
            shares = "  ".join(f"{share:8.3f}" for share in called / repeats)
            print(f"{pages:6d}  {alone:19.2f}  {shares}", flush=True)


def ranked_pages(precision: np.ndarray, rng: np.random.Generator) -> Predictions:
    """Pages in order of confidence whose chance to be right is given, [pages]."""
    confidence = np.linspace(0.999, 0.6, len(precision))
    right = rng.random(len(precision)) < precision
    log_probs = np.log(np.stack([confidence, 1 - confidence], axis=1)).astype(np.float32)
    return Predictions(np.arange(len(right)).astype(str), log_probs, ("a", "b"), np.where(right, 0, 1))


def threshold_table(repeats: int) -> None:
    print(f"\nThresholds that are not as precise as asked for (5 % at most), {repeats} repeats")
    print(" pages  target  precision of the pages        too low  mean coverage")
    for pages in (300, 1000, 3000):
        place = (np.arange(pages) + 0.5) / pages
        for target in (0.9, 0.95, 0.99):
            for name, precision in {
                "everywhere just too low": np.full(pages, target - 1e-4),
                "falls at the end": 1 - 0.4 * place**12,
                "falls early": 0.995 - 0.5 * place**2,
            }.items():
                rng = np.random.default_rng((pages, int(target * 100)))
                true_precision = np.cumsum(precision) / np.arange(1, pages + 1)
                found = [find_threshold(ranked_pages(precision, rng), target) for _ in range(repeats)]
                bad = np.mean([one.decided > 0 and true_precision[one.decided - 1] < target for one in found])
                coverage = np.mean([one.coverage.value for one in found])
                print(f"{pages:6d}  {target:6.2f}  {name:28s}  {bad:7.3f}  {coverage:13.3f}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=500)
    repeats = parser.parse_args().repeats
    confusion_table(9, repeats)
    confusion_table(17, repeats)
    calibration_table(repeats)
    loss_table(repeats)
    difference_table(max(1, repeats // 4))  # each takes thousands of draws
    threshold_table(repeats)


if __name__ == "__main__":
    main()
