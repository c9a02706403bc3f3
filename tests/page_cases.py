"""Files with pages, and checkpoints, for the tests of `predict`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

SIDE = 40


def page(number: int) -> Image.Image:
    """A page that differs from all others with another number below a million."""
    paper, ink = np.random.default_rng(number).integers(0, 256, (2, 3), dtype=np.uint8)
    pixels = np.tile(paper, (SIDE, SIDE, 1))
    pixels[:: 2 + number % 5] = ink
    return Image.fromarray(pixels)


def write_images(folder: Path, count: int, first: int = 0) -> list[Path]:
    """`p0000.png`, `p0001.png`, …"""
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"p{number:04d}.png" for number in range(first, first + count)]
    for number, path in enumerate(paths, first):
        page(number).save(path)
    return paths


def write_tiff(path: Path, numbers: Sequence[int]) -> Path:
    """A TIFF of several pages."""
    first, *others = [page(number) for number in numbers]
    first.save(path, save_all=True, append_images=others, compression="tiff_lzw")
    return path


def write_pdf(path: Path, numbers: Sequence[int]) -> Path:
    """A PDF of several pages."""
    first, *others = [page(number) for number in numbers]
    first.save(path, save_all=True, append_images=others)
    return path


def write_encrypted_pdf(path: Path) -> Path:
    """The smallest PDF with a password that PDFium asks for: its keys are those of no password."""
    objects = [
        b"<< /Type /Catalog /Pages 2 0 R >>",
        b"<< /Type /Pages /Kids [3 0 R] /Count 1 >>",
        b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 9 9] >>",
        b"<< /Filter /Standard /V 1 /R 2 /O <" + b"41" * 32 + b"> /U <" + b"42" * 32 + b"> /P -4 >>",
    ]
    content, places = b"%PDF-1.4\n", []
    for number, text in enumerate(objects, 1):
        places.append(len(content))
        content += b"%d 0 obj\n%s\nendobj\n" % (number, text)
    table = b"".join(b"%010d 00000 n \n" % place for place in places)
    trailer = b"<< /Size 5 /Root 1 0 R /Encrypt 4 0 R /ID [<00> <00>] >>"
    content += b"xref\n0 5\n0000000000 65535 f \n%strailer\n%s\nstartxref\n%d\n%%%%EOF\n" % (
        table,
        trailer,
        len(content),
    )
    path.write_bytes(content)
    return path


def write_checkpoint(
    path: Path, class_names: Sequence[str], seed: int = 0, augmentation: str = "none", data_root: str = "data"
) -> Path:
    """A checkpoint of a tiny network that was never trained, whose classes depend on the page all the same."""
    import torch

    from docclf_cli.data.images.preprocess import Preprocess
    from docclf_cli.engine.checkpoints.checkpoint import Checkpoint
    from docclf_cli.models.factory import create_model
    from docclf_cli.profile.load import load_profile

    options = {
        "model.model_name": "test_resnet",
        "model.pretrained": False,
        "augmentation": augmentation,
        "data.root": data_root,
    }
    profile = load_profile("config", options=options).profile
    torch.manual_seed(seed)
    model = create_model(profile.model, len(class_names), image_size=32)
    _spread(model)
    Checkpoint(
        model=model.state_dict(), model_config=profile.model, class_names=tuple(class_names), preprocess=Preprocess(32),
        augmentation=profile.augmentation, profile=profile.model_dump(mode="json"), epoch=1, temperature=1.5,
    ).save(path)  # fmt: skip
    return path


def _spread(model: Any) -> None:
    """A head that looks only at what differs between pages, so that these fall into different classes."""
    import torch

    images = torch.stack([torch.from_numpy(np.array(page(n).resize((32, 32)))).permute(2, 0, 1) for n in range(16)])
    with torch.no_grad():
        features = model.eval().forward_head(model.forward_features((images - 128.0) / 60), pre_logits=True)
        usual, head = features.mean(0), model.get_classifier()
        weight = torch.randn_like(head.weight) * 4 / features.std()
        head.weight.copy_(weight - torch.outer(weight @ usual, usual) / (usual @ usual))
        head.bias.zero_()
