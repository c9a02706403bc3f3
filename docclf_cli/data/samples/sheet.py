"""A page to draw on, with the text, table and picture elements of the sample documents."""

from __future__ import annotations

import glob
import random
from functools import cache

from PIL import Image, ImageDraw, ImageFilter, ImageFont

Font = ImageFont.FreeTypeFont | ImageFont.ImageFont
WORDS = (
    "account address amount annual balance between branch capital centre charge city client company contract copy date "
    "delivery department details district due exchange final general goods gross group health holder house including "
    "invoice item labour letter limit list local market material member monthly national net notice number office "
    "order paid park payment period person phone place plan price product project public quality rate record "
    "reference region report request road school section service signed state station store street summary supply "
    "system terms total trade transfer unit value visit water week with year"
).split()
GIVEN = (
    "Anna Ben Chloe Daniel Emma Farid Grace Hana Ivan Jina Karim Lena Minsu Nora Omar Priya Sora Tomas Uma Yuna".split()
)
FAMILY = "Adams Baker Choi Diaz Evans Fischer Garcia Han Ito Jung Kim Lee Moreau Novak Park Quinn Rossi Sato Tanaka Weber".split()
CITIES = "Seoul Busan Lisbon Berlin Osaka Leeds Lyon Porto Graz Oslo Turin Ghent Malmo Daegu Utrecht".split()
KOREAN = {
    "감사합니다": "THANK YOU",
    "계산서": "Bill",
    "이력": "Career",
    "병원": "Hospital",
    "주민등록증": "Resident Card",
    "여권": "REPUBLIC",
    "신청서": "Application",
    "거래 내역": "Transactions",
    "확인": "SEEN",
}
ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
PLATE_SYLLABLES = "가나다라마거너더러머고노도로모구누두루무"
_HANGUL_FONTS = ("*anum*othic*.ttf", "*NotoSansCJK*", "*NotoSansKR*", "*malgun*.ttf", "*AppleGothic*", "*UnDotum*.ttf")


@cache
def latin(size: int) -> Font:
    """Pillow's bundled font."""
    return ImageFont.load_default(size)


@cache
def hangul(size: int) -> Font | None:
    """A Hangul font of the system, where there is one."""
    file = _hangul_file()
    return ImageFont.truetype(file, size) if file else None


@cache
def _hangul_file() -> str | None:
    folders = ("/usr/share/fonts", "/Library/Fonts", "/System/Library/Fonts", "C:/Windows/Fonts")
    for pattern in _HANGUL_FONTS:
        for folder in folders:
            for path in sorted(glob.glob(f"{folder}/**/{pattern}", recursive=True)):  # noqa: PTH207  (case-sensitive on purpose)
                return path
    return None


def _in_latin(text: str) -> str:
    for korean, meaning in KOREAN.items():
        text = text.replace(korean, meaning)
    return "".join(char if char.isascii() else "K" for char in text)


class Sheet:
    """Paper of a given size, with margins, a base text size and an ink, all drawn from `rng`.

    Args:
        rng: Decides everything.
        width: Paper width in pixels.
        height: Paper height in pixels.
        paper: Colour of the paper; None draws a tone.
    """

    def __init__(self, rng: random.Random, width: int, height: int, paper: tuple[int, ...] | None = None) -> None:
        tone = rng.randint(226, 255)
        self.rng, self.width, self.height = rng, width, height
        self.paper = paper or (tone, tone - rng.randint(0, 5), tone - rng.randint(0, 18))
        self.image = Image.new("RGB", (width, height), self.paper)
        self.draw = ImageDraw.Draw(self.image)
        self.left = rng.randint(14, 44)
        self.right = width - rng.randint(14, 44)
        self.y = float(rng.randint(14, 48))
        self.size = rng.randint(9, 13)
        self.weight = rng.choice((0, 0, 0.3, 0.5))  # of headings
        dark = rng.randint(10, 80)
        self.ink = (dark, dark, min(255, dark + rng.choice((0, 0, 40))))
        self.accent = rng.choice(
            ((30, 60, 130), (140, 30, 40), (20, 100, 80), (90, 60, 120), (60, 60, 60), (170, 90, 20))
        )

    @property
    def line(self) -> float:
        """Height of a line of text."""
        return self.size * 1.45

    def text(
        self, x: float, y: float, text: str, size: int = 0, fill: tuple[int, int, int] | None = None, anchor: str = "la"
    ) -> None:
        """Draw text at a position; Korean becomes English where the system has no font for it."""
        size = size or self.size
        font = latin(size) if text.isascii() else hangul(size)
        if font is None:
            font, text = latin(size), _in_latin(text)
        weight = self.weight if size >= self.size + 3 else 0
        self.draw.text((x, y), text, font=font, fill=fill or self.ink, anchor=anchor, stroke_width=weight)

    def put(self, text: str, size: int = 0, where: str = "left", fill: tuple[int, int, int] | None = None) -> None:
        """One line of text below the last."""
        size = size or self.size
        x, anchor = {
            "left": (self.left, "la"),
            "centre": ((self.left + self.right) / 2, "ma"),
            "right": (self.right, "ra"),
        }[where]
        self.text(x, self.y, text, size, fill, anchor)
        self.y += size * 1.45

    def pair(self, label: str, value: str, size: int = 0, at: float | None = None) -> None:
        """A label on the left, its value on the right or at a column."""
        size = size or self.size
        self.text(self.left, self.y, label, size)
        if at is None:
            self.text(self.right, self.y, value, size, anchor="ra")
        else:
            self.text(self.left + at, self.y, value, size)
        self.y += size * 1.5

    def rule(self, dashed: bool = False) -> None:
        """A line across."""
        self.y += 3
        step = 7 if dashed else self.right - self.left
        for x in range(int(self.left), int(self.right), max(1, int(step))):
            self.draw.line((x, self.y, min(self.right, x + step * (0.6 if dashed else 1)), self.y), fill=self.ink)
        self.y += 6

    def gap(self, lines: float = 1.0) -> None:
        """Leave vertical space."""
        self.y += lines * self.line

    def words(self, count: int) -> str:
        """Random filler words."""
        return " ".join(self.rng.choice(WORDS) for _ in range(count))

    def paragraph(self, lines: int, left: float | None = None, right: float | None = None) -> None:
        """Lines of text, the last one shorter."""
        start, end = left or self.left, right or self.right
        for number in range(lines):
            limit = (end - start) * (self.rng.uniform(0.3, 0.8) if number == lines - 1 else 1)
            text = self.words(18)
            while latin(self.size).getlength(text) > limit and " " in text:
                text = text.rpartition(" ")[0]
            self.text(start, self.y, text)
            self.y += self.line

    def table(self, heads: list[str], rows: list[list[str]], ruled: bool, shaded: bool = False) -> None:
        """A table over the whole width, the first column the widest."""
        width = self.right - self.left
        share = 0.42 if len(heads) > 2 else 0.6
        ends = [self.left + width * (share + (1 - share) * i / max(1, len(heads) - 1)) for i in range(len(heads))]
        for number, row in enumerate([heads, *rows]):
            top = self.y
            if number == 0 and shaded:
                self.draw.rectangle(
                    (self.left, top, self.right, top + self.line), fill=tuple(min(255, c + 150) for c in self.accent)
                )
            self.text(self.left + 3, top + 1, row[0])
            for end, cell in zip(ends[1:], row[1:], strict=True):
                self.text(end - 3, top + 1, cell, anchor="ra")
            self.y += self.line
            if ruled:
                self.draw.rectangle((self.left, top, self.right, self.y), outline=self.ink)
        if ruled:
            for end in ends[:-1]:
                self.draw.line((end, self.y - self.line * (len(rows) + 1), end, self.y), fill=self.ink)

    def box(
        self, x: float, y: float, w: float, h: float, fill: tuple[int, int, int] | None = None, outline: bool = True
    ) -> None:
        """A rectangle."""
        self.draw.rectangle((x, y, x + w, y + h), fill=fill, outline=self.ink if outline else None)

    def barcode(self, x: float, y: float, w: float, h: float) -> None:
        """Bars of random widths."""
        end = x + w
        while x < end:
            bar = self.rng.choice((1, 1, 2, 3))
            self.draw.rectangle((x, y, min(end, x + bar - 1), y + h), fill=self.ink)
            x += bar + self.rng.choice((1, 2, 3))

    def portrait(self, x: float, y: float, w: float, h: float) -> None:
        """The photograph of somebody who does not exist."""
        rng = self.rng
        back, skin, hair = rng.randint(150, 235), rng.randint(120, 220), rng.randint(10, 110)
        self.draw.rectangle((x, y, x + w, y + h), fill=(back, back, min(255, back + 20)), outline=self.ink)
        self.draw.ellipse((x + w * 0.1, y + h * 0.7, x + w * 0.9, y + h * 1.4), fill=self.accent)
        self.draw.ellipse((x + w * 0.25, y + h * 0.12, x + w * 0.75, y + h * 0.6), fill=(hair, hair // 2, hair // 3))
        self.draw.ellipse(
            (x + w * 0.3, y + h * 0.2, x + w * 0.7, y + h * 0.72), fill=(skin, int(skin * 0.85), int(skin * 0.7))
        )
        self.draw.rectangle((x, y + h, x + w, y + h * 1.45), fill=self.paper)

    def scrawl(self, x: float, y: float, w: float, h: float) -> None:
        """A signature."""
        points = [(x + w * i / 14, y + h * self.rng.random()) for i in range(15)]
        self.draw.line(points, fill=(20, 20, self.rng.randint(80, 160)), width=1, joint="curve")

    def stamp(self, x: float, y: float, radius: float) -> None:
        """A round seal."""
        red = (self.rng.randint(160, 210), 40, 50)
        self.draw.ellipse((x - radius, y - radius, x + radius, y + radius), outline=red, width=2)
        self.text(x, y, self.rng.choice(("PAID", "OK", "SEAL", "확인")), max(8, int(radius / 2)), red, "mm")

    def cut(self) -> None:
        """Cut the paper off below the last line."""
        bottom = int(self.y) + self.rng.randint(10, 40)
        self.image = self.image.crop((0, 0, self.width, min(bottom, self.height)))

    def has_room(self, below: float) -> bool:
        """Whether more than `below` pixels are left."""
        return self.y < self.height - below

    def scanned(self) -> Image.Image:
        """The sheet as a scanner sees it: another width of letters, a slight tilt, blur, specks, uneven tone."""
        rng, image = self.rng, self.image
        image = image.resize((int(image.width * rng.uniform(0.88, 1.12)), image.height), Image.Resampling.BICUBIC)
        if rng.random() < 0.5:
            image = image.rotate(rng.uniform(-1.5, 1.5), Image.Resampling.BILINEAR, fillcolor=self.paper)
        if rng.random() < 0.3:
            image = self._on_the_glass(image)
        if rng.random() < 0.5:
            image = image.filter(ImageFilter.GaussianBlur(rng.uniform(0.2, 0.8)))
        if rng.random() < 0.3:
            self._speckle(image)
        if rng.random() < 0.3:
            image = image.convert("L").convert("RGB")
        factor = rng.uniform(0.9, 1.0)
        return image.point(lambda value: int(value * factor))

    def _on_the_glass(self, image: Image.Image) -> Image.Image:
        """The page with the scanner's lid around it."""
        tone, rng = self.rng.choice((40, 120, 200, 235, 250)), self.rng
        sides = [int(length * rng.uniform(0, 0.12)) for length in (image.width, image.height) * 2]
        glass = Image.new("RGB", (image.width + sides[0] + sides[2], image.height + sides[1] + sides[3]), (tone,) * 3)
        glass.paste(image, (sides[0], sides[1]))
        return glass

    def _speckle(self, image: Image.Image) -> None:
        dust = ImageDraw.Draw(image)
        for _ in range(self.rng.randint(5, 40)):
            dust.point((self.rng.randrange(image.width), self.rng.randrange(image.height)), fill=self.ink)

    # What documents are full of.

    def name(self) -> str:
        """A person."""
        return f"{self.rng.choice(GIVEN)} {self.rng.choice(FAMILY)}"

    def company(self) -> str:
        """A firm."""
        return f"{self.rng.choice(FAMILY)} {self.rng.choice(('Trading', 'Stores', 'Works', 'Foods', 'Systems', 'Bros'))} {self.rng.choice(('Ltd', 'Co', 'GmbH', 'Inc'))}"

    def city(self) -> str:
        """A place with its code."""
        return f"{self.rng.randint(10000, 99999)} {self.rng.choice(CITIES)}"

    def street(self) -> str:
        """An address line."""
        return f"{self.rng.randint(1, 240)} {self.rng.choice(WORDS).title()} {self.rng.choice(('Street', 'Road', 'Lane', 'Ave'))}"

    def date(self) -> str:
        """A day, in one of three spellings."""
        d, m, y = self.rng.randint(1, 28), self.rng.randint(1, 12), self.rng.randint(1990, 2026)
        return self.rng.choice((f"{y}-{m:02}-{d:02}", f"{d:02}.{m:02}.{y}", f"{m:02}/{d:02}/{y}"))

    def money(self, most: float = 900) -> str:
        """An amount."""
        return f"{self.rng.uniform(1, most):,.2f}"

    def code(self, length: int, letters: str = "0123456789") -> str:
        """A number or code."""
        return "".join(self.rng.choice(letters) for _ in range(length))
