"""The preprocessing of pages, a value stored in the checkpoint; caches and predictions are keyed by its fingerprint."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from docclf_cli.files import fingerprint_of

RESIZE_MODES = ("letterbox", "squash", "crop")
INTERPOLATIONS = ("nearest", "box", "bilinear", "hamming", "bicubic", "lanczos")


@dataclass(frozen=True)
class Preprocess:
    """How a page becomes the input of a model.

    Attributes:
        size: Side of the square input in pixels.
        resize_mode: `letterbox` keeps the aspect ratio and centres the page on a white square; `squash` gives
            the ratio up; `crop` takes the centred square.
        mean: Per channel (RGB), subtracted after scaling pixels to 0..1.
        std: Per channel, divided by after the mean is subtracted.
        interpolation: Resampling filter; all but `nearest` are antialiased.
    """

    size: int
    resize_mode: str = "letterbox"
    mean: tuple[float, float, float] = (0.485, 0.456, 0.406)
    std: tuple[float, float, float] = (0.229, 0.224, 0.225)
    interpolation: str = "bilinear"

    def __post_init__(self) -> None:
        if self.size < 1:
            raise ValueError(f"size must be at least 1, not {self.size}")
        if self.resize_mode not in RESIZE_MODES:
            raise ValueError(f"resize_mode '{self.resize_mode}' is not one of {RESIZE_MODES}")
        if self.interpolation not in INTERPOLATIONS:
            raise ValueError(f"interpolation '{self.interpolation}' is not one of {INTERPOLATIONS}")

    def fingerprint(self) -> str:
        """Fingerprint of all fields; stored predictions are keyed by it."""
        return fingerprint_of(self.to_dict())

    def pixel_fingerprint(self) -> str:
        """Fingerprint of the fields that decide the resized pixels (without mean and std); page caches are keyed by it."""
        return fingerprint_of(self.size, self.resize_mode, self.interpolation)

    def to_dict(self) -> dict[str, Any]:
        """The fields as a dict, for JSON and checkpoints."""
        return {key: list(value) if isinstance(value, tuple) else value for key, value in asdict(self).items()}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "Preprocess":
        """The inverse of `to_dict`.

        Raises:
            ValueError: A value is out of range.
            TypeError: A key is missing or unknown.
        """
        fields: dict[str, Any] = {
            key: tuple(value) if isinstance(value, list) else value for key, value in values.items()
        }
        return cls(**fields)
