"""Where a page speaks for a class."""

import copy

import numpy as np
import pytest
import timm
import torch
from torch import nn

from docclf_cli.data.images.preprocess import Preprocess
from docclf_cli.engine.inference.heat_maps import heat_map, on_page, stronger_half

MODELS = ("test_resnet", "test_convnext", "test_vit")


def _image() -> torch.Tensor:
    torch.manual_seed(1)
    return torch.randn(1, 3, 160, 160)


@pytest.mark.parametrize("name", MODELS)
def test_maps_follow_the_weights_and_the_class(name: str) -> None:
    """The sanity check of Adebayo et al. (2018): a map that stays when the weights are randomised explains nothing."""
    torch.manual_seed(0)
    model = timm.create_model(name, num_classes=4).eval()
    before = {key: value.clone() for key, value in model.state_dict().items()}
    found = heat_map(model, _image(), 1)
    assert found.shape == (160, 160)
    assert found.dtype == np.float32
    assert 0 <= found.min() <= found.max() <= 1
    assert found.max() > 0.5
    other = copy.deepcopy(model)
    torch.manual_seed(7)
    for module in other.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            module.reset_parameters()
    assert np.corrcoef(found.ravel(), heat_map(other, _image(), 1).ravel())[0, 1] < 0.8
    assert not np.array_equal(found, heat_map(model, _image(), 2))
    np.testing.assert_array_equal(found, heat_map(model, _image(), 1))
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())


def test_the_place_that_decides_is_found() -> None:
    class Corner(nn.Module):
        """Class 1 is a bright upper left corner."""

        feature_info = ({"module": "features"},)

        def __init__(self) -> None:
            super().__init__()
            self.features = nn.AvgPool2d(20)

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            corner = self.features(images)[:, :, 0, 0].mean(dim=1)
            return torch.stack([-corner, corner], dim=1)

    image = torch.zeros(1, 3, 160, 160)
    image[:, :, :20, :20] = 1
    found = heat_map(Corner(), image, 1)
    assert np.unravel_index(found.argmax(), found.shape) < (20, 20)
    assert found[60:, 60:].max() == 0


def test_the_square_is_cut_back_to_the_page() -> None:
    heat = np.arange(100, dtype=np.float32).reshape(10, 10)
    np.testing.assert_array_equal(on_page(heat, 200, 100, Preprocess(10)), heat[:, 2:7])
    np.testing.assert_array_equal(on_page(heat, 100, 200, Preprocess(10)), heat[2:7])
    assert on_page(heat, 200, 100, Preprocess(10, "squash")) is heat
    cropped = on_page(heat, 200, 100, Preprocess(10, "crop"))
    assert cropped.shape == (20, 10)
    np.testing.assert_array_equal(cropped[5:15], heat)
    assert cropped[:5].max() == cropped[15:].max() == 0


def test_a_picture_shows_the_stronger_half() -> None:
    found = stronger_half(np.array([[0.6, 0.7], [0.8, 1.0]], np.float32))
    np.testing.assert_allclose(found, [[0, 0], [0.2, 1]], atol=1e-6)
    assert stronger_half(np.zeros((2, 2), np.float32)).max() == 0
