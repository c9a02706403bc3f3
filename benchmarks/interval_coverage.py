"""How often the intervals hold the truth: by simulation, where the truth is known.

    python benchmarks/interval_coverage.py                        # all tables, about an hour of one core
    python benchmarks/interval_coverage.py --only confusion --classes 11 --repeats 200

The first table fixes the true rates of confusion of a classifier, draws confusion matrices for the pages at hand, and
asks how often the intervals hold what the classifier's metrics are over all pages there could be, the classes in the
same shares. 95 % are promised.
"""

import argparse

import numpy as np

from docclf_cli.metrics.calibration import BINS, calibration_error
from docclf_cli.metrics.compare import mcnemar, paired_difference
from docclf_cli.metrics.confusion import counts_of, f1_scores, precisions
from docclf_cli.metrics.intervals import mean_of, wilson
from docclf_cli.metrics.metrics import balanced_accuracy, f1_macro, f1_weighted
from docclf_cli.metrics.posterior import f1_of_classes, metrics_of_classes
from docclf_cli.metrics.thresholds import find_threshold
from docclf_cli.results.metrics import Estimate
from docclf_cli.results.predictions import Predictions

DRAWN = {"balanced_accuracy": balanced_accuracy, "f1_macro": f1_macro, "f1_weighted": f1_weighted}
DRAWS = 200  # fewer than the product takes; the coverage hardly depends on it
# Pages of the classes, repeated until every class has some.
SIZES = {"1": [1], "1, 2": [1, 2], "5": [5], "10": [10], "30": [30], "100": [100], "1 to 100": [1, 2, 5, 20, 100]}
RECALLS = (0.2, 0.5, 0.8, 0.95)
MODELS = ("alike", "uneven", "popular")


def true_rates(model: str, classes: int, recall: float, rng: np.random.Generator) -> np.ndarray:
    """True rates of confusion, [classes, classes].

    Args:
        model: alike: all classes have the same recall, mistakes go to all others evenly; uneven: recalls differ
            (Beta, worth three pages), most mistakes of a class go to a few others; popular: the same recall, and
            mistakes go to the k-th class in proportion to 1 / k.
        classes: How many.
        recall: On average.
        rng: Source of what differs between classes.
    """
    recalls = rng.beta(3 * recall, 3 * (1 - recall), classes) if model == "uneven" else np.full(classes, recall)
    shares = {
        "alike": np.ones((classes, classes)),
        "uneven": rng.standard_gamma(0.4, (classes, classes)),
        "popular": np.tile(1 / np.arange(1, classes + 1), (classes, 1)),
    }[model]
    np.fill_diagonal(shares, 0)
    table = shares * ((1 - recalls) / shares.sum(axis=1))[:, None]
    np.fill_diagonal(table, recalls)
    return table


def holds(estimate: Estimate, truth: float) -> bool:
    return side(estimate, truth) == 0


def side(estimate: Estimate, truth: float) -> int:
    """Where the truth lies: -1 below the interval, 0 inside, 1 above."""
    return int(truth > estimate.high + 1e-12) - int(truth < estimate.low - 1e-12)


def confusion_row(support: np.ndarray, rates: np.ndarray, repeats: int, rng: np.random.Generator) -> list[np.ndarray]:
    """Sides of the truth and widths of intervals: of recall, precision, F1 of a class, and the `DRAWN` metrics.

    Returns:
        For each of these an array [2, intervals of all repeats]: sides, widths.
    """
    truth = counts_of(rates * support[:, None])
    true_precision, true_f1 = precisions(truth), f1_scores(truth)
    true_metrics = {name: float(DRAWN[name](truth)) for name in DRAWN}
    seen: list[list[tuple[int, float]]] = [[] for _ in range(3 + len(DRAWN))]

    def note(place: int, estimate: Estimate, true: float) -> None:
        seen[place].append((side(estimate, true), estimate.high - estimate.low))

    for _ in range(repeats):
        matrix = rng.multinomial(support, rates)
        counts = counts_of(matrix)
        f1 = f1_of_classes(matrix, rng, draws=DRAWS)
        for index in range(len(support)):
            note(0, wilson(counts.hits[index], support[index]), rates[index, index])
            if counts.predicted[index]:
                note(1, wilson(counts.hits[index], counts.predicted[index]), true_precision[index])
            note(2, f1[index], true_f1[index])
        found = metrics_of_classes(matrix, DRAWN, rng, draws=DRAWS)
        for place, name in enumerate(DRAWN, start=3):
            note(place, found[name], true_metrics[name])
    return [np.array(column).T for column in seen]


def confusion_table(classes: int, repeats: int) -> None:
    print(
        f"\nMetrics of the confusion matrix, {classes} classes, {repeats} repeats: coverage, for the metrics over all"
        f"\nclasses with the shares of misses (truth below/above the interval) and the mean width above .970; standard"
        f"\nerror of a coverage of .95: {np.sqrt(0.95 * 0.05 / repeats):.3f}"
    )
    print("model      pages  recall   recall  precis.  F1     " + "".join(f"{name:27s}" for name in DRAWN))
    for model in MODELS:
        for name, sizes in SIZES.items():
            for recall in RECALLS:
                rng = np.random.default_rng((classes, MODELS.index(model), int(recall * 100), sum(sizes)))
                rates = true_rates(model, classes, recall, rng)
                row = confusion_row(np.resize(sizes, classes), rates, repeats, rng)
                cells = [f"{np.mean(sides == 0):.3f}  " for sides, _ in row[:3]]
                for sides, widths in row[3:]:
                    held = np.mean(sides == 0)
                    width = f" w {widths.mean():.2f}" if held > 0.97 else ""
                    cell = f"{held:.3f} ({np.mean(sides < 0):.3f}/{np.mean(sides > 0):.3f}){width}"
                    cells.append(f"{cell:27s}")
                print(f"{model:8s}{name:>8s}  {recall:6.2f}    {'  '.join(cells)}".rstrip(), flush=True)


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
                found = mean_of(np.logaddexp(0, -odds), np.repeat(np.arange(pages // together), together))
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
                for place, metric in enumerate(("accuracy", "f1_macro", "log_loss")):
                    found = paired_difference(a, b, metric, seed=repeat)
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


def drawn_pages(pages: int, digits: int, skill: str, rng: np.random.Generator) -> Predictions:
    """Pages whose confidence is drawn and rounded, so that many are tied; how often they are right depends on it alone."""
    confidence = np.clip(np.round(rng.beta(6, 1, pages), digits), 0.51, 0.999)
    right = rng.random(pages) < chance_of(confidence, skill)
    log_probs = np.log(np.stack([confidence, 1 - confidence], axis=1)).astype(np.float32)
    return Predictions(np.arange(pages).astype(str), log_probs, ("a", "b"), np.where(right, 0, 1))


def chance_of(confidence: np.ndarray, skill: str) -> np.ndarray:
    """The chance that a page is right: as it says (calibrated), less (over-confident), or the same for all (flat)."""
    return {
        "calibrated": confidence,
        "over-confident": 1 - 1.5 * (1 - confidence) - 0.01,
        "flat": np.full(len(confidence), 0.945),
    }[skill].clip(0, 1)


def tied_table(repeats: int) -> None:
    """The whole selection on pages as they come: small samples, and confidences of which many are equal."""
    print(
        f"\nThresholds that are not as precise as asked for (5 % at most), drawn and tied confidences, {repeats} repeats"
    )
    print(" pages  target  digits  model             found  too low  of those found")
    for pages in (30, 60, 100, 300, 1000):
        for target in (0.8, 0.9, 0.95):
            for digits in (1, 2, 4):
                for skill in ("calibrated", "over-confident", "flat"):
                    rng = np.random.default_rng((pages, int(target * 100), digits))
                    every = np.clip(np.round(rng.beta(6, 1, 200_000), digits), 0.51, 0.999)
                    values, counts = np.unique(-every, return_counts=True)
                    hits = np.cumsum(chance_of(-values, skill) * counts) / np.cumsum(counts)
                    found = [
                        find_threshold(drawn_pages(pages, digits, skill, rng), target).value for _ in range(repeats)
                    ]
                    lowest = [np.searchsorted(-values[::-1], value - 1e-6) for value in found if value is not None]
                    bad = np.sum([hits[len(hits) - 1 - place] < target for place in lowest])
                    share = bad / len(lowest) if lowest else float("nan")
                    print(
                        f"{pages:6d}  {target:6.2f}  {digits:6d}  {skill:14s}  {len(lowest) / repeats:7.3f}  {bad / repeats:7.3f}  {share:14.3f}",
                        flush=True,
                    )


def main() -> None:
    tables = {
        "calibration": calibration_table,
        "loss": loss_table,
        "difference": lambda repeats: difference_table(max(1, repeats // 4)),  # each takes thousands of draws
        "threshold": threshold_table,
        "tied": tied_table,
    }
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=500)
    parser.add_argument("--classes", type=int, nargs="+", default=[2, 11, 50, 100])
    parser.add_argument("--only", choices=["confusion", *tables], help="one kind of table")
    options = parser.parse_args()
    if options.only in (None, "confusion"):
        for classes in options.classes:
            confusion_table(classes, options.repeats)
    for name, table in tables.items():
        if options.only in (None, name):
            table(options.repeats)


if __name__ == "__main__":
    main()
