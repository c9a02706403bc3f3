"""What a model is given."""

from itertools import product

import numpy as np
import pytest
import torch

from docclf_cli.data.images.preprocess import Preprocess
from docclf_cli.engine.inference.predictor import normalise
from docclf_cli.engine.runtime.device import Runtime

FACTS = Preprocess(12, mean=(0.1, 0.5, 0.9), std=(0.2, 0.3, 0.4))


@pytest.mark.parametrize(("channels_last", "as_stored"), list(product((False, True), repeat=2)))
def test_each_channel_is_shifted_and_scaled_by_its_own_metrics(channels_last: bool, as_stored: bool) -> None:
    pages = np.random.default_rng(0).integers(0, 256, (5, 12, 12, 3), dtype=np.uint8)
    images = torch.from_numpy(pages).movedim(-1, 1)
    images = images if as_stored else images.contiguous()
    runtime = Runtime(torch.device("cpu"), channels_last=channels_last)
    given = normalise(images, FACTS, runtime)
    expected = (pages / 255 - np.array(FACTS.mean)) / np.array(FACTS.std)
    assert given.dtype == torch.float32
    assert given.is_contiguous(memory_format=runtime.memory_format)
    np.testing.assert_allclose(given.numpy(), expected.transpose(0, 3, 1, 2), rtol=1e-5, atol=1e-6)
    assert images.dtype == torch.uint8 and (images == torch.from_numpy(pages).movedim(-1, 1)).all()


def test_no_page_at_all_is_no_page() -> None:
    none = torch.empty(0, 3, 1, 1, dtype=torch.uint8)
    assert normalise(none, FACTS, Runtime(torch.device("cpu"))).shape == none.shape
