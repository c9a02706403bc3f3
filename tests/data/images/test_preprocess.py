import json

import pytest

from docclf_cli.data.images.preprocess import Preprocess


def test_it_survives_json():
    preprocess = Preprocess(224, "crop", (0.5, 0.4, 0.3), (0.2, 0.2, 0.1), "bicubic")
    assert Preprocess.from_dict(json.loads(json.dumps(preprocess.to_dict()))) == preprocess


@pytest.mark.parametrize(
    ("change", "pixels_change"),
    [
        ({"size": 225}, True),
        ({"resize_mode": "squash"}, True),
        ({"interpolation": "bicubic"}, True),
        ({"mean": (0.5, 0.5, 0.5)}, False),
        ({"std": (0.5, 0.5, 0.5)}, False),
    ],
)
def test_fingerprints_follow_what_they_stand_for(change, pixels_change):
    base, other = Preprocess(224), Preprocess(**{"size": 224, **change})
    assert base.fingerprint() != other.fingerprint()
    assert (base.pixel_fingerprint() != other.pixel_fingerprint()) == pixels_change


@pytest.mark.parametrize("wrong", [{"size": 0}, {"resize_mode": "stretch"}, {"interpolation": "cubic"}])
def test_wrong_values_are_refused(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        Preprocess(**{"size": 224, **wrong})
