"""How packets are cut, for whoever cuts them: `split-packets`, `serve` and `watch`."""

from __future__ import annotations

from dataclasses import dataclass

from docclf_cli.data.text.ocr import require_ocr
from docclf_cli.data.text.page_text import MODES, TextMode
from docclf_cli.errors import InputError

TARGET = 0.95


@dataclass(frozen=True)
class CutOptions:
    """How packets are cut.

    Attributes:
        target_precision: How often cuts and joins without review are to be right.
        text: Whether text is read: `off`, `layer`, `ocr` (also OCR of pages without a layer), `auto` (OCR where an engine is
            installed).
    """

    target_precision: float = TARGET
    text: TextMode = "auto"

    def check(self, option: str = "--target-precision", text_option: str = "--text") -> None:
        """Refuse values that cannot be.

        Args:
            option: What a person calls the target.
            text_option: What a person calls the text mode.

        Raises:
            InputError: There is such a value.
        """
        if not 0.5 < self.target_precision < 1:
            raise InputError(f"{option}: {self.target_precision:g} is not between 0.5 and 1", "such as 0.95")
        if self.text not in MODES:
            raise InputError(f"{text_option}: '{self.text}' is not one of {', '.join(MODES)}")
        if self.text == "ocr":
            require_ocr()
