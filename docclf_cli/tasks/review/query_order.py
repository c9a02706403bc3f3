"""Which page a person is asked about next while a model learns from the answers (pool-based active learning)."""

from __future__ import annotations

import numpy as np

MOST_CLUSTERED = 5000  # pages that k-means looks at; of more, a sample


def first_order(count: int, seed: int = 0) -> np.ndarray:
    """An order of pages about which nothing is known, int64 [count]: drawn at random, since files that lie together are alike."""
    return np.random.default_rng((seed, count)).permutation(count)


def uncovered(features: np.ndarray, labelled: np.ndarray, count: int, seed: int = 0) -> np.ndarray:
    """Pages of clusters in which no page has a label: the one nearest to each centre, large clusters first (Hacohen et al. 2022).

    With few labels this teaches more than asking where a classifier is in doubt, since it has not seen most kinds of pages yet.

    Args:
        features: float [n, features].
        labelled: Which pages have a label, bool [n].
        count: How many pages are wanted; there are as many k-means clusters as labels and wanted pages.
        seed: Of the clustering.

    Returns:
        Rows without a label, int64 [at most count].
    """
    from sklearn.cluster import KMeans

    pool, known = np.flatnonzero(~labelled), np.flatnonzero(labelled)
    pool = np.sort(pool[np.random.default_rng(seed).permutation(len(pool))[:MOST_CLUSTERED]])
    if len(pool) <= count:
        return pool
    points = directions(features[np.concatenate([pool, known])])
    found = KMeans(min(count + len(known), len(points)), n_init=1, random_state=seed).fit(points)
    clusters = found.labels_[: len(pool)]
    nearest = []
    for cluster in np.argsort(-np.bincount(found.labels_), kind="stable"):
        members = np.flatnonzero(clusters == cluster)
        if len(members) and cluster not in found.labels_[len(pool) :]:
            distances = ((points[members] - found.cluster_centers_[cluster]) ** 2).sum(axis=1)
            nearest.append(members[int(distances.argmin())])
    return pool[np.array(nearest[:count], dtype=np.int64)]


def by_margin(log_probs: np.ndarray) -> np.ndarray:
    """Margin sampling, stratified by predicted class: of each class in turn, the page with the smallest margin.

    Args:
        log_probs: float [n, num_classes].

    Returns:
        Rows, int64 [n].
    """
    margins, predicted = margins_of(log_probs), log_probs.argmax(axis=1)
    ranks = np.empty(len(log_probs), dtype=np.int64)
    for label in np.unique(predicted):
        rows = np.flatnonzero(predicted == label)
        ranks[rows[np.argsort(margins[rows], kind="stable")]] = np.arange(len(rows))
    return np.lexsort((margins, ranks))


def margins_of(log_probs: np.ndarray) -> np.ndarray:
    """Difference between the two greatest probabilities of each page, float [n]; 1 where there is one class."""
    if log_probs.shape[1] < 2:
        return np.ones(len(log_probs))
    second, first = np.sort(np.exp(log_probs), axis=1)[:, -2:].T
    return np.asarray(first - second)


def directions(features: np.ndarray) -> np.ndarray:
    """Features of variance 1 and rows of length 1, so that k-means clusters by angle."""
    deviation = features.std(axis=0)
    deviation = np.maximum(deviation, max(float(np.median(deviation)) / 2, 1e-6))
    scaled = (features - features.mean(axis=0)) / deviation
    return np.asarray(scaled / np.maximum(np.linalg.norm(scaled, axis=1, keepdims=True), 1e-12))
