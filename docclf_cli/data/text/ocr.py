"""OCR of page images: Tesseract where its command is installed, else `rapidocr` (extra `ocr`)."""

from __future__ import annotations

import functools
import importlib.metadata
import importlib.util
import io
import logging
import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from typing import Any

import numpy as np

from docclf_cli.data.text.page_text import MAX_CHARACTERS, NO_TEXT, PageText, cleaned
from docclf_cli.errors import InputError

TESSERACT, RAPIDOCR = "tesseract", "rapidocr"
HINT = "install tesseract-ocr (and tesseract-ocr-kor for Hangul), or pip install 'docclf[ocr]'"
SECONDS = 60.0  # a page may take; one that takes longer counts as a page without text
LONGEST = 3_000  # pixels of a page's longer side: 250 dpi for A4
SMALL = 2_400  # images with fewer are enlarged: at 150 dpi Tesseract drops the ends of lines of small Hangul
MOST_LANGUAGES = 3  # each one that is tried on a page takes as long again
DEFAULT_LANGUAGE = "eng"
# Tesseract's traineddata for the scripts that its detection names; those that are installed are used.
LANGUAGES_OF_SCRIPT = {
    "Hangul": ("kor", "eng"),
    "Korean": ("kor", "eng"),
    "Japanese": ("jpn", "eng"),
    "Katakana": ("jpn", "eng"),
    "Hiragana": ("jpn", "eng"),
    "Han": ("chi_sim", "chi_tra", "jpn"),
    "Cyrillic": ("rus", "ukr", "eng"),
    "Arabic": ("ara", "fas"),
    "Devanagari": ("hin", "eng"),
    "Greek": ("ell", "eng"),
    "Hebrew": ("heb", "eng"),
    "Thai": ("tha", "eng"),
    "Latin": ("eng", "deu", "fra", "spa", "ita", "por"),
}
_RAPIDOCR_SCRIPTS = frozenset({"Latin", "Han", "Japanese", "Katakana", "Hiragana"})
_TURN = re.compile(r"^Rotate: (\d+)", re.MULTILINE)
_TURN_CONFIDENCE = re.compile(r"^Orientation confidence: ([\d.]+)", re.MULTILINE)
_SCRIPT = re.compile(r"^Script: (\w+)", re.MULTILINE)
_SCRIPT_CONFIDENCE = re.compile(r"^Script confidence: ([\d.]+)", re.MULTILINE)
SURE_OF_TURN = 1.0  # below it a page stays as it lies: nearly all pages are upright
SURE_OF_SCRIPT = 4.0  # Korean pages with some English words are taken for Latin up to 3
logger = logging.getLogger("docclf")


@dataclass(frozen=True)
class OcrEngine:
    """What reads page images on this machine.

    Attributes:
        name: `tesseract` or `rapidocr`.
        version: Of the engine.
        languages: Tesseract's installed languages; empty for rapidocr.
    """

    name: str
    version: str
    languages: tuple[str, ...] = ()

    def __str__(self) -> str:
        """Name, version and languages, as shown to users and as part of the key of the cache."""
        languages = f" ({', '.join(self.languages)})" if self.languages else ""
        return f"{self.name} {self.version}{languages}"

    def read(self, page: np.ndarray, seconds: float = SECONDS) -> PageText:
        """The text of a page image, uint8 [height, width, 3]; none where it takes too long."""
        if self.name == TESSERACT:
            return _by_tesseract(page, self.languages, seconds)
        return PageText(text, RAPIDOCR) if (text := cleaned(_by_rapidocr(page))) else NO_TEXT


@functools.cache
def ocr_engine() -> OcrEngine | None:
    """The engine that is used here; None where none is installed. Tesseract is first: it can learn Hangul."""
    if shutil.which(TESSERACT) is not None:
        version, languages = _tesseract_facts()
        if languages:
            return OcrEngine(TESSERACT, version, languages)
    if importlib.util.find_spec(RAPIDOCR) is not None:
        return OcrEngine(RAPIDOCR, importlib.metadata.version(RAPIDOCR))
    return None


def require_ocr() -> OcrEngine:
    """The engine that is used here.

    Raises:
        InputError: None is installed.
    """
    engine = ocr_engine()
    if engine is None:
        raise InputError("text: ocr needs an OCR engine, and none is installed", HINT)
    return engine


def _tesseract_facts() -> tuple[str, tuple[str, ...]]:
    """Version and installed languages; no languages where the command does not work."""
    try:
        version = subprocess.run([TESSERACT, "--version"], capture_output=True, timeout=SECONDS, check=True)
        listed = subprocess.run([TESSERACT, "--list-langs"], capture_output=True, timeout=SECONDS, check=True)
    except (OSError, subprocess.SubprocessError) as error:
        logger.warning("tesseract is installed but does not run: %s", error)
        return "", ()
    number = (version.stdout + version.stderr).decode(errors="replace").split("\n")[0].removeprefix("tesseract").strip()
    names = (listed.stdout + listed.stderr).decode(errors="replace").splitlines()[1:]
    return number, tuple(sorted(name for name in map(str.strip, names) if name and "/" not in name))


def _by_tesseract(page: np.ndarray, installed: tuple[str, ...], seconds: float) -> PageText:
    """Read a page: turn it upright and find its script first, where the data for that (`osd`) is installed."""
    from PIL import Image

    image = Image.fromarray(page).convert("L")
    if (longest := max(image.size)) < SMALL:
        factor = LONGEST / longest if 2 * longest > LONGEST else 2.0
        image = image.resize((round(image.width * factor), round(image.height * factor)), Image.Resampling.BICUBIC)
    script = ""
    if "osd" in installed:
        found = _tesseract(image, ["--psm", "0"], seconds)
        if _number(_SCRIPT_CONFIDENCE, found) >= SURE_OF_SCRIPT and (match := _SCRIPT.search(found)) is not None:
            script = match[1]
        turn = int(_number(_TURN, found))
        if turn and _number(_TURN_CONFIDENCE, found) >= SURE_OF_TURN:
            image = image.rotate(-turn, expand=True, fillcolor=255)
    languages = languages_for(script, installed)
    if not languages:
        if script in _RAPIDOCR_SCRIPTS and importlib.util.find_spec(RAPIDOCR) is not None:
            text = cleaned(_by_rapidocr(np.asarray(image.convert("RGB"))))
            return PageText(text, RAPIDOCR) if text else NO_TEXT
        _say_missing(script)
        return NO_TEXT
    text = cleaned(_tesseract(image, ["--psm", "3", "-l", "+".join(languages)], seconds))
    return PageText(text, TESSERACT) if text else NO_TEXT


def _number(pattern: re.Pattern[str], text: str) -> float:
    """The number that a pattern finds; 0 where it finds none."""
    return 0.0 if (match := pattern.search(text)) is None else float(match[1])


def languages_for(script: str, installed: tuple[str, ...]) -> tuple[str, ...]:
    """The installed languages that write in a script, the likeliest first; for a page whose script is not told all there are.

    Empty where a script is known and none of its own languages is installed.
    """
    own = [name for name in installed if name not in ("osd", "equ") and not name.endswith("_vert")]
    wanted = LANGUAGES_OF_SCRIPT.get(script)
    if (
        wanted is None
    ):  # those with letters of their own first: they have English words in them, not the other way round
        latin = LANGUAGES_OF_SCRIPT["Latin"]
        ordered = sorted(own, key=lambda name: (latin.index(name) + 1 if name in latin else 0, name))
        if DEFAULT_LANGUAGE in own and len(ordered) > MOST_LANGUAGES:
            ordered = [*ordered[: MOST_LANGUAGES - 1], DEFAULT_LANGUAGE]
        return tuple(ordered[:MOST_LANGUAGES])
    found = tuple(name for name in wanted if name in own)
    if script != "Latin" and set(found) <= {DEFAULT_LANGUAGE}:
        return ()
    return found[:MOST_LANGUAGES] or tuple(own[:1])


@functools.cache
def _say_missing(script: str) -> None:
    name = LANGUAGES_OF_SCRIPT[script][0].replace("_", "-")
    logger.warning("pages in the script %s are taken as pages without text: install tesseract-ocr-%s", script, name)


def _tesseract(image: Any, arguments: list[str], seconds: float) -> str:
    """What Tesseract prints about an image; empty where it fails or takes longer than `seconds`."""
    file = io.BytesIO()
    image.save(file, "PPM")
    try:
        done = subprocess.run(
            [TESSERACT, "stdin", "stdout", *arguments],
            input=file.getvalue(),
            capture_output=True,
            timeout=seconds,
            check=True,
            env={**os.environ, "OMP_THREAD_LIMIT": "1"},  # pages are read side by side
        )
    except (OSError, subprocess.SubprocessError) as error:
        logger.debug("tesseract: %s", error)
        return ""
    return done.stdout.decode(errors="replace")[: 2 * MAX_CHARACTERS]


@functools.cache
def _rapidocr() -> Any:
    """The engine with its models, on one thread, without its log lines."""
    from rapidocr import RapidOCR

    logging.getLogger("RapidOCR").setLevel(logging.ERROR)
    return RapidOCR(
        params={
            "Global.log_level": "error",
            "EngineConfig.onnxruntime.intra_op_num_threads": 1,
            "EngineConfig.onnxruntime.inter_op_num_threads": 1,
        }
    )


def _by_rapidocr(page: np.ndarray) -> str:
    try:
        found = _rapidocr()(page[:, :, ::-1])
    except Exception as error:  # whatever a page makes of it, other pages are to be read
        logger.debug("rapidocr: %s", error)
        return ""
    return "\n".join(found.txts or ())
