"""How much `docclf audit` finds of what was planted: copies of pages, and swapped labels.

    python benchmarks/audit_planted.py --data ROOT --groups ROOT/train_groups.csv     # about 15 minutes on two cores
    python benchmarks/audit_planted.py --data ROOT --only near-duplicates

Copies: some pages once more, each recompressed, resized, scanned 20 % darker or with less contrast, shaded (40 % darker towards
one side, or half as bright in the gutter of a book), turned by 1, 2 or 3 degrees, or all of it without the shade. Recall is the share
of copies that are found as a near duplicate of their original. Precision is the share of all pairs found that are copies of one
page; pairs that are alike without any planting are counted on their own.

Labels: 5 % of the labels are swapped to a random other class, folds are trained on that, and audited. The planting and
the training depend on the seed alone; the models on the machine too.
"""

import argparse
import io
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
from PIL import Image

from docclf_cli.data.images.decode import flattened
from docclf_cli.data.index.index import DocumentIndex, load_index
from docclf_cli.engine.checkpoints.run_folder import write_csv
from docclf_cli.metrics.intervals import wilson
from docclf_cli.profile.load import load_profile
from docclf_cli.profile.schema import DataConfig
from docclf_cli.results.audit import AuditResult
from docclf_cli.tasks.audit.audit import audit
from docclf_cli.tasks.train import train

Change = Callable[[Image.Image, np.random.Generator], Image.Image]
SWAPPED = 0.05
TRAINING = {
    "model": "efficientnet_lite0", "augmentation": "light", "data.image_size": 128, "train.epochs": 5,
    "train.folds": 3, "train.monitor": "f1_macro", "optimizer.lr": 1e-3, "data.degraded_validation": False,
    "tracking.backend": "none",
}  # fmt: skip


def recompressed(page: Image.Image, rng: np.random.Generator) -> Image.Image:
    file = io.BytesIO()
    page.save(file, "JPEG", quality=int(rng.integers(25, 60)))
    return Image.open(file).convert("RGB")


def resized(page: Image.Image, rng: np.random.Generator) -> Image.Image:
    factor = rng.uniform(0.4, 0.8)
    return page.resize((round(page.width * factor), round(page.height * factor)), Image.Resampling.BICUBIC)


def turned(degrees: float) -> Change:
    def turn(page: Image.Image, rng: np.random.Generator) -> Image.Image:
        angle = degrees * rng.choice([-1, 1])
        return page.rotate(angle, Image.Resampling.BICUBIC, expand=bool(rng.integers(2)), fillcolor=(255, 255, 255))

    return turn


def darker(page: Image.Image, rng: np.random.Generator) -> Image.Image:
    return page.point(lambda value: value * 0.8)


def paler(page: Image.Image, rng: np.random.Generator) -> Image.Image:
    return page.point(lambda value: 90 + value * 0.6)


def shaded(page: Image.Image, rng: np.random.Generator) -> Image.Image:
    pixels = np.asarray(page, np.float32)
    down, across = np.mgrid[: pixels.shape[0], : pixels.shape[1]]
    angle = rng.uniform(0, 2 * np.pi)
    depth = np.cos(angle) * across / pixels.shape[1] + np.sin(angle) * down / pixels.shape[0]
    depth = (depth - depth.min()) / (depth.max() - depth.min())
    return Image.fromarray((pixels * (1 - 0.4 * depth)[..., None]).astype(np.uint8))


def gutter(page: Image.Image, rng: np.random.Generator) -> Image.Image:
    pixels = np.asarray(page, np.float32)
    light = 1 - 0.5 * np.exp(-np.arange(pixels.shape[1]) / (0.15 * pixels.shape[1]))
    return Image.fromarray((pixels * light[None, :, None]).astype(np.uint8))


def everything(page: Image.Image, rng: np.random.Generator) -> Image.Image:
    tones = darker if rng.integers(2) else paler
    return recompressed(turned(rng.uniform(1, 3))(tones(resized(page, rng), rng), rng), rng)


CHANGES: Mapping[str, Change] = {
    "recompressed": recompressed,
    "resized": resized,
    "darker": darker,
    "paler": paler,
    "shaded to one side": shaded,
    "gutter of a book": gutter,
    "turned 1 degree": turned(1),
    "turned 2 degrees": turned(2),
    "turned 3 degrees": turned(3),
    "all of it": everything,
}


def plant_copies(
    index: DocumentIndex, folder: Path, copies: int, rng: np.random.Generator
) -> dict[str, tuple[str, str]]:
    """Write all pages and the copies; gives the original and the kind of each copy."""
    names, planted = np.array(index.class_names)[index.labels], {}
    rows = [{"ID": str(name), "target": target} for name, target in zip(index.ids, names, strict=True)]
    (folder / "pages").mkdir()
    for row in range(len(index)):
        target = folder / "pages" / str(index.ids[row])
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(index.path(row).read_bytes())
    for kind, corruption in CHANGES.items():
        for row in rng.choice(len(index), copies, replace=False):
            with Image.open(index.path(row)) as page:
                copy = corruption(flattened(page), rng)
            name = f"copy-{len(planted):04d}.jpg"
            copy.save(folder / "pages" / name, quality=90)
            planted[name] = str(index.ids[row]), kind
            rows.append({"ID": name, "target": names[row]})
    write_csv(folder / "pages.csv", rows)
    return planted


def run_audit(root: Path, output: Path, run: Path | None = None, **data: object) -> AuditResult:
    options = {"data.root": str(root), **{f"data.{key}": value for key, value in data.items()}}
    return audit(load_profile("config", options=options).profile, run=run, output=output)


def near_duplicates(index: DocumentIndex, copies: int, seed: int) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        planted = plant_copies(index, folder, copies, np.random.default_rng(seed))
        start = time.perf_counter()
        result = run_audit(folder / "pages.csv", folder)
        seconds = time.perf_counter() - start
    pairs = {frozenset((pair.first.id, pair.second.id)) for pair in result.near_duplicates}
    origin = {str(page): str(page) for page in index.ids} | {copy: page for copy, (page, _) in planted.items()}
    print(f"\nCopies, {len(index)} pages and {len(planted)} copies, {seconds:.0f} s")
    for kind in CHANGES:
        of_kind = [frozenset((copy, page)) for copy, (page, one) in planted.items() if one == kind]
        print(f"  {kind:18s} recall    {share(sum(pair in pairs for pair in of_kind), len(of_kind))}")
    ends = [tuple(origin[page] for page in pair) for pair in pairs]
    right = sum(one == other for one, other in ends)
    alike = {frozenset(pair) for pair in pairs if not pair & planted.keys()}
    follow = sum(one != other and frozenset((one, other)) in alike for one, other in ends)
    print(f"  all pairs          precision {share(right, len(pairs))}")
    print(f"  besides pairs that are alike unplanted ({len(alike)}, in the copies again {follow - len(alike)}):")
    print(f"                     precision {share(right, len(pairs) - follow)}")


def labels(index: DocumentIndex, groups: str | None, folder: Path, run: Path | None, seed: int) -> None:
    rng = np.random.default_rng(seed)
    names, given = np.array(index.class_names), index.labels.copy()
    swapped = rng.choice(len(index), round(SWAPPED * len(index)), replace=False)
    given[swapped] = (given[swapped] + rng.integers(1, len(names), len(swapped))) % len(names)
    rows = zip(index.ids.tolist(), names[given].tolist(), strict=True)
    write_csv(folder / "swapped.csv", [{"ID": name, "target": label} for name, label in rows])
    data = {"images": str(index.root / index.below), "groups": groups}
    if run is None:
        own = {"data.root": str(folder / "swapped.csv"), "output": str(folder), "name": "folds"}
        options = {**TRAINING, **own, **{f"data.{key}": value for key, value in data.items()}}
        run = train(load_profile("config", options=options).profile).run
    check = run_audit(folder / "swapped.csv", folder, run, **data).labels
    assert check is not None
    true = dict(zip(index.ids.tolist(), names[index.labels].tolist(), strict=True))
    wrong, found = set(index.ids[swapped].tolist()), [one.id for one in check.issues]
    right = [one for one in check.issues if one.id in wrong]
    print(
        f"\nLabels, {len(wrong)} of {len(index)} swapped; {len(found)} label issues, {check.expected_issues:.0f} expected"
    )
    print(f"  recall    {share(len(right), len(wrong))}")
    print(f"  precision {share(len(right), len(found))}")
    first = sum(name in wrong for name in found[: len(wrong)])
    print(f"  precision of the first {len(wrong)} {share(first, min(len(wrong), len(found)))}")
    print(
        f"  suggested class is the true one {share(sum(one.suggested_label == true[one.id] for one in right), len(right))}"
    )


def share(count: int, of: int) -> str:
    if not of:
        return "none"
    interval = wilson(count, of)
    return f"{interval.value:.3f} ({interval.low:.2f}-{interval.high:.2f}), {count} of {of}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True, help="data root with training pages that are right")
    parser.add_argument("--groups", help="CSV file ID,group")
    parser.add_argument("--copies", type=int, default=80, help="of each kind")
    parser.add_argument("--only", choices=("near-duplicates", "labels"))
    parser.add_argument("--run", type=Path, help="folds run trained on the same swapped labels by an earlier call")
    parser.add_argument("--work", type=Path, help="keep the folds run here")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    index = load_index(DataConfig(root=args.data), "train")
    if args.only != "labels":
        near_duplicates(index, args.copies, args.seed)
    if args.only != "near-duplicates":
        with tempfile.TemporaryDirectory() as name:
            work = args.work or Path(name)
            labels(index, args.groups, work, args.run, args.seed)


if __name__ == "__main__":
    main()
