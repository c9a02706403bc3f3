"""The kinds of sample documents that are cards and plates, not sheets of paper."""

from __future__ import annotations

import random

from docclf_cli.data.samples.sheet import ALPHABET, PLATE_SYLLABLES, Sheet


def _card(rng: random.Random) -> Sheet:
    sheet = Sheet(rng, rng.randint(420, 500), rng.randint(260, 310), tuple(rng.randint(190, 245) for _ in range(3)))
    sheet.left, sheet.y, sheet.size = 16, 14, rng.randint(10, 12)
    return sheet


def id_card(rng: random.Random, layout: int) -> Sheet:
    """An identity card."""
    sheet = _card(rng)
    for x in range(0, sheet.width, rng.randint(9, 16)):
        tone = tuple(max(0, c - 14) for c in sheet.paper)
        sheet.draw.arc((x - 60, -40, x + 60, sheet.height + 40), 0, 360, fill=tone)
    sheet.put(
        rng.choice(("IDENTITY CARD", "National ID", "Citizen Card", "주민등록증")),
        sheet.size + 7,
        "centre" if layout == 2 else "left",
        sheet.accent,
    )
    photo_x = sheet.width - 130 if layout == 1 else 18
    sheet.portrait(photo_x, sheet.y + 14, 92, 112)
    sheet.left = 18 if layout == 1 else 130
    sheet.y += 16
    for label in rng.sample(("Name", "Born", "Sex", "Place", "No.", "Expires"), rng.randint(4, 6)):
        value = {
            "Name": sheet.name(),
            "Born": sheet.date(),
            "Sex": rng.choice("MF"),
            "Place": rng.choice(("Seoul", "Lyon", "Graz")),
        }
        sheet.put(f"{label}: {value.get(label, sheet.code(9))}")
    if layout == 2:
        sheet.box(sheet.width - 70, sheet.height - 70, 46, 36, (200, 170, 90))
    else:
        sheet.scrawl(sheet.left, sheet.height - 50, 90, 24)
    return sheet


def passport(rng: random.Random, layout: int) -> Sheet:
    """The data page of a passport, with its two machine-readable lines (ICAO 9303)."""
    sheet = Sheet(rng, rng.randint(430, 510), rng.randint(290, 360), tuple(rng.randint(205, 240) for _ in range(3)))
    family, given = sheet.name().upper().split()[::-1]
    country, number = sheet.code(3, ALPHABET), sheet.code(9, ALPHABET[:8] + "0123456789")
    sheet.left, sheet.y, sheet.size = 14, 12, 10
    sheet.put(
        rng.choice(("PASSPORT", "REPUBLIC  PASSPORT", "PASSEPORT / PASSPORT", "여권 PASSPORT")),
        16,
        ("left", "centre", "right")[layout],
        sheet.accent,
    )
    photo_x = (18, sheet.width - 130, 18)[layout]
    sheet.portrait(photo_x, 46, 104, 128)
    sheet.left, sheet.y = (140, 18, 136)[layout], 48
    for label, value in (("Type", "P"), ("Code", country), ("Passport No.", number), ("Surname", family), ("Given names", given),
                         ("Date of birth", sheet.date()), ("Sex", rng.choice("MF")), ("Date of expiry", sheet.date())):  # fmt: skip
        if layout == 2:
            sheet.text(sheet.left, sheet.y, label, 8)
            sheet.text(sheet.left + 100, sheet.y, value, 11)
            sheet.y += 17
        else:
            sheet.put(label, 8)
            sheet.y -= 3
            sheet.put(value, 11)
    lines = (
        f"P<{country}{family}<<{given}",
        f"{number}{rng.randint(0, 9)}{country}{sheet.code(7)}{rng.choice('MF')}{sheet.code(7)}",
    )
    for row, line in enumerate(lines):
        for at, char in enumerate(line.ljust(44, "<")):
            sheet.text(14 + at * (sheet.width - 28) / 44, sheet.height - 46 + row * 19, char, 12)
    return sheet


def licence_plate(rng: random.Random, layout: int) -> Sheet:
    """A car's plate, photographed close."""
    body = tuple(rng.randint(30, 150) for _ in range(3))
    sheet = Sheet(rng, rng.randint(400, 500), rng.randint(230, 320), body)
    w, h = sheet.width * rng.uniform(0.6, 0.9), sheet.height * (0.5 if layout == 2 else rng.uniform(0.28, 0.38))
    x, y = (sheet.width - w) / 2 + rng.randint(-12, 12), (sheet.height - h) / 2 + rng.randint(-20, 20)
    plate, ink = rng.choice(
        (
            ((245, 245, 245), (20, 20, 20)),
            ((250, 215, 60), (20, 20, 20)),
            ((30, 110, 60), (240, 240, 240)),
            ((240, 240, 250), (20, 40, 130)),
        )
    )
    sheet.draw.rounded_rectangle((x, y, x + w, y + h), 8, fill=plate, outline=ink, width=3)
    if layout == 1:
        sheet.box(x + 4, y + 4, w * 0.1, h - 8, (20, 60, 160), outline=False)
    digits = (
        f"{rng.randint(10, 999)}{rng.choice(PLATE_SYLLABLES)} {sheet.code(4)}"
        if layout == 0
        else f"{sheet.code(3, ALPHABET)} {sheet.code(4)}"
    )
    if layout == 2:
        sheet.text(x + w / 2, y + h * 0.28, sheet.code(4, ALPHABET + "0123456789"), int(h * 0.3), ink, "mm")
        sheet.text(x + w / 2, y + h * 0.68, sheet.code(4), int(h * 0.42), ink, "mm")
    else:
        sheet.text(x + w / 2 + (w * 0.04 if layout else 0), y + h / 2, digits, int(min(h * 0.7, w / 5.5)), ink, "mm")
    return sheet
