"""Measures how similar two pages are after an affine registration of one onto the other."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F

SIDE = 128  # of the pages that are compared; text lines are still told apart, single letters are not
_STEPS = ((32, 12), (64, 6), (128, 4))  # side of a level, iterations on it
_DETAIL = 5  # pixels: paper tone, shading and layout are coarser, text and lines finer
# Contrast is made even over a page, else the frame of a scanned book outweighs its text, and all its pages look alike.
_NEIGHBOURHOOD, _NOISE = 17, 4.0  # pixels; grey values below which contrast is not raised
_RIM = 3 / 32  # of the side: a turned scan shows its background there
_HOPELESS = 0.4  # on the middle level; near duplicates have .8 there


def registered_similarity(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Register each second page onto the first by an affine warp, and correlate their fine detail.

    Args:
        a: Grey pages, uint8 [n, SIDE, SIDE].
        b: As many others.

    Returns:
        Correlation, float32 [n]; 1 for the same page, 0 for a blank one.
    """
    first, second = (torch.from_numpy(pages).float() for pages in (a, b))
    warp = torch.eye(3).repeat(len(a), 1, 1)
    found = torch.zeros(len(a))
    alive = torch.arange(len(a))
    for side, iterations in _STEPS:
        if not len(alive):
            break
        left, right = (F.avg_pool2d(pages[alive, None], pages.shape[1] // side)[:, 0] for pages in (first, second))
        warp[alive] = _registered(_smooth(left), _smooth(right), warp[alive], iterations)
        found[alive] = _correlation(left, _warped(right, warp[alive]))
        if side > _STEPS[0][0]:  # the coarsest level shows too little to judge
            alive = alive[found[alive] > _HOPELESS]
    return found.numpy()


def _registered(fixed: torch.Tensor, moving: torch.Tensor, warp: torch.Tensor, iterations: int) -> torch.Tensor:
    """Improve affine warps [n, 3, 3] from `fixed` to `moving` by Gauss-Newton steps.

    The inverse compositional algorithm of Baker and Matthews, "Lucas-Kanade 20 Years On" (IJCV 2004): the
    derivatives belong to the fixed page, so they are computed once.
    """
    side = fixed.shape[1]
    template, inside = _standard(fixed), _inside(side)
    down, right = torch.gradient(template, spacing=2 / side, dim=(1, 2))
    y, x = torch.meshgrid(*[(torch.arange(side) + 0.5) * 2 / side - 1] * 2, indexing="ij")
    steepest = torch.stack([right * x, right * y, right, down * x, down * y, down], dim=1)[..., inside, :][..., inside]
    steepest = steepest.flatten(2)
    hessian = steepest @ steepest.transpose(1, 2)
    # Where a page shows lines of one direction only, nothing holds it along them: a little damping does.
    damping = 1e-3 * hessian.diagonal(dim1=1, dim2=2).mean(dim=1) + 1e-6
    solve = torch.linalg.solve(hessian + damping[:, None, None] * torch.eye(6), steepest)
    for _ in range(iterations):
        error = (_standard(_warped(moving, warp)) - template)[:, inside][..., inside].flatten(1)
        step = (solve @ error[..., None]).reshape(-1, 2, 3)
        warp = warp @ torch.linalg.inv(torch.eye(3) + F.pad(step, (0, 0, 0, 1)))
    return warp


def _warped(pages: torch.Tensor, warp: torch.Tensor) -> torch.Tensor:
    grid = F.affine_grid(warp[:, :2], [len(pages), 1, *pages.shape[1:]], align_corners=False)
    return F.grid_sample(pages[:, None], grid, padding_mode="border", align_corners=False)[:, 0]


def _correlation(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    inside = _inside(a.shape[1])
    one, other = (_standard(_detail(pages)[:, inside][..., inside]) for pages in (a, b))
    return (one * other).mean(dim=(1, 2))


def _detail(pages: torch.Tensor) -> torch.Tensor:
    fine = pages - _mean_around(pages, _DETAIL)
    return fine / (_mean_around(fine.square(), _NEIGHBOURHOOD).sqrt() + _NOISE)


def _smooth(pages: torch.Tensor) -> torch.Tensor:
    return _mean_around(pages, 3)


def _mean_around(pages: torch.Tensor, width: int) -> torch.Tensor:
    padded = F.pad(pages[:, None], [width // 2] * 4, mode="replicate")
    return F.avg_pool2d(padded, width, stride=1)[:, 0]


def _standard(pages: torch.Tensor) -> torch.Tensor:
    """Pages with mean 0 and deviation 1; a blank one stays 0."""
    centred = pages - pages.mean(dim=(1, 2), keepdim=True)
    return centred / (centred.square().mean(dim=(1, 2), keepdim=True).sqrt() + 1e-3)


def _inside(side: int) -> slice:
    rim = round(side * _RIM)
    return slice(rim, side - rim)
