"""The kinds of sample documents, each with three layouts or more."""

from __future__ import annotations

import random
from collections.abc import Callable

from PIL import Image

from docclf_cli.data.samples.cards import id_card, licence_plate, passport
from docclf_cli.data.samples.sheet import ALPHABET, Sheet

LAYOUTS = 3


def _upright(rng: random.Random) -> Sheet:
    return Sheet(rng, rng.randint(380, 440), rng.randint(520, 600))


def _items(sheet: Sheet, count: int) -> list[list[str]]:
    rng = sheet.rng
    return [
        [sheet.words(rng.randint(1, 3)), str(rng.randint(1, 9)), sheet.money(90), sheet.money(300)]
        for _ in range(count)
    ]


def receipt(rng: random.Random, layout: int) -> Sheet:
    """A till roll."""
    sheet = Sheet(rng, rng.randint(210, 290), 700, (rng.randint(235, 255),) * 3)
    sheet.left, sheet.right = rng.randint(8, 22), sheet.width - rng.randint(8, 22)
    where = "left" if layout == 2 else "centre"
    sheet.put(sheet.company().upper(), sheet.size + 4, where)
    for line in (sheet.street(), f"TEL {sheet.code(9)}", sheet.date()):
        sheet.put(line, where=where)
    sheet.rule(dashed=layout != 1)
    for _ in range(rng.randint(4, 13)):
        if layout == 1:
            sheet.put(sheet.words(2).upper())
            sheet.pair(f"  {rng.randint(1, 5)} x {sheet.money(30)}", sheet.money(60))
        else:
            sheet.pair(sheet.words(rng.randint(1, 2)).upper(), sheet.money(60))
    sheet.rule(dashed=layout == 0)
    for label in ("SUBTOTAL", "TAX 10%", "CASH")[: rng.randint(1, 3)]:
        sheet.pair(label, sheet.money(90))
    sheet.pair("TOTAL", sheet.money(), sheet.size + 5)
    sheet.gap()
    if layout != 2:
        sheet.barcode(sheet.left + 10, sheet.y, sheet.right - sheet.left - 20, rng.randint(24, 40))
        sheet.y += 46
    sheet.put(rng.choice(("THANK YOU", "COME AGAIN", "감사합니다")), where=where)
    sheet.cut()
    return sheet


def invoice(rng: random.Random, layout: int) -> Sheet:
    """A bill with positions."""
    sheet = _upright(rng)
    if layout == 0:
        sheet.box(0, 0, sheet.width, rng.randint(26, 44), sheet.accent, outline=False)
        sheet.y += 30
    sheet.put(sheet.company(), sheet.size + 5, "right" if layout == 1 else "left", sheet.accent)
    sheet.put(f"{sheet.street()}, {sheet.city()}", where="right" if layout == 1 else "left")
    sheet.gap(rng.uniform(1, 3))
    sheet.put(
        rng.choice(("INVOICE", "Invoice", "Tax invoice", "계산서")), sheet.size + 9, "centre" if layout == 2 else "left"
    )
    for label in ("Invoice no.", "Date", "Customer", "Due")[: rng.randint(2, 4)]:
        sheet.pair(label, rng.choice((sheet.code(7), sheet.date(), sheet.name())), at=90 if layout else None)
    sheet.gap()
    sheet.table(
        ["Item", "Qty", "Price", "Amount"], _items(sheet, rng.randint(3, 11)), ruled=layout != 1, shaded=layout == 0
    )
    sheet.gap(0.5)
    for label in ("Net", "VAT", "Total due"):
        sheet.put(f"{label}   {sheet.money(3000)}", where="right")
    sheet.gap(2)
    sheet.paragraph(rng.randint(1, 3))
    return sheet


def resume(rng: random.Random, layout: int) -> Sheet:
    """A curriculum vitae."""
    sheet = _upright(rng)
    column = sheet.left
    if layout == 1:
        side = rng.randint(110, 140)
        sheet.box(0, 0, side, sheet.height, sheet.accent, outline=False)
        if rng.random() < 0.6:
            sheet.portrait(side / 2 - 30, 30, 60, 74)
        for row in range(9):
            sheet.text(10, 150 + row * 24, sheet.words(2), 9, (240, 240, 240))
        column = side + 16
    sheet.left = column
    sheet.put(sheet.name(), sheet.size + 11, "centre" if layout == 0 else "left", sheet.accent)
    sheet.put(
        f"{sheet.name().replace(' ', '.').lower()}@mail.example  {sheet.code(9)}",
        where="centre" if layout == 0 else "left",
    )
    for head in rng.sample(("Experience", "Education", "Skills", "Projects", "Languages", "이력"), rng.randint(3, 5)):
        sheet.gap(0.6)
        sheet.put(head.upper() if layout == 2 else head, sheet.size + 3, fill=sheet.accent)
        if layout != 1:
            sheet.rule()
        for _ in range(rng.randint(1, 3)):
            if not sheet.has_room(70):
                return sheet
            sheet.pair(sheet.words(2).title(), f"{rng.randint(2001, 2014)}-{rng.randint(2015, 2026)}")
            for _ in range(rng.randint(1, 3)):
                sheet.text(sheet.left + 8, sheet.y, "- " + sheet.words(5))
                sheet.y += sheet.line
    return sheet


def prescription(rng: random.Random, layout: int) -> Sheet:
    """What a doctor prescribes."""
    sheet = Sheet(
        rng, rng.randint(340, 420), rng.randint(500, 580), rng.choice((None, (232, 244, 236), (236, 240, 250)))
    )
    where = ("centre", "left", "right")[layout]
    sheet.put(
        rng.choice(("Medical Centre", "Family Clinic", "General Hospital", "병원")), sheet.size + 6, where, sheet.accent
    )
    sheet.put(f"Dr. {sheet.name()}  Reg. {sheet.code(6)}", where=where)
    sheet.rule()
    for label, value in (("Patient", sheet.name()), ("Born", sheet.date()), ("Date", sheet.date())):
        sheet.pair(label, value, at=70)
    sheet.gap(0.5)
    if layout != 1:
        sheet.put("Rx", 34)
    else:
        sheet.put("PRESCRIPTION", sheet.size + 5, "centre")
    for number in range(rng.randint(2, 5)):
        drug = f"{sheet.code(1, ALPHABET)}{sheet.words(1)[:4]}{rng.choice(('ol', 'in', 'ate', 'ide'))} {rng.choice((5, 10, 50, 250, 500))} mg"
        sheet.put(f"{number + 1}. {drug}" if layout else drug, sheet.size + 1)
        sheet.put(f"     {rng.randint(1, 3)} x daily, {rng.randint(3, 30)} days")
    sheet.y = max(sheet.y + 20, sheet.height - 90)
    sheet.scrawl(sheet.right - 110, sheet.y, 90, 26)
    sheet.draw.line((sheet.right - 130, sheet.y + 34, sheet.right, sheet.y + 34), fill=sheet.ink)
    if rng.random() < 0.6:
        sheet.stamp(sheet.left + 40, sheet.y + 10, rng.randint(18, 30))
    return sheet


def letter(rng: random.Random, layout: int) -> Sheet:
    """A letter."""
    sheet = _upright(rng)
    sender = "right" if layout != 2 else "left"
    for line in (sheet.name(), sheet.street(), sheet.city()):
        sheet.put(line, where=sender)
    sheet.gap(rng.uniform(1, 3))
    if layout != 1:
        for line in (sheet.company(), sheet.street(), sheet.city()):
            sheet.put(line)
        sheet.gap()
    sheet.put(f"{sheet.city().split()[1]}, {sheet.date()}", where="right" if layout == 1 else "left")
    sheet.gap(rng.uniform(0.5, 2))
    sheet.put(f"Dear {sheet.name()},")
    for _ in range(rng.randint(2, 4)):
        if sheet.has_room(200):
            sheet.gap(0.5)
            sheet.paragraph(rng.randint(3, 7))
    sheet.gap()
    sheet.put(rng.choice(("Yours sincerely,", "Kind regards,", "With best wishes,")))
    sheet.scrawl(sheet.left, sheet.y, 90, 28)
    sheet.y += 34
    sheet.put(sheet.name())
    return sheet


def form(rng: random.Random, layout: int) -> Sheet:
    """A form to fill in."""
    sheet = _upright(rng)
    sheet.put(
        rng.choice(("APPLICATION FORM", "Registration", "Request form", "신청서")),
        sheet.size + 7,
        "centre" if layout else "left",
    )
    sheet.put(f"Form {sheet.code(4)}-{sheet.code(1, ALPHABET)}", 9, "right")
    while sheet.has_room(110):
        label, height = sheet.words(rng.randint(1, 2)).capitalize(), sheet.line * 1.6
        if layout == 0:
            sheet.box(sheet.left, sheet.y, sheet.right - sheet.left, height)
            sheet.text(sheet.left + 4, sheet.y + 2, label, 8)
        elif layout == 1:
            sheet.text(sheet.left, sheet.y + 4, label)
            cell = 15
            for x in range(int(sheet.left) + 120, int(sheet.right) - cell, cell):
                sheet.box(x, sheet.y, cell, height - 8)
        else:
            sheet.text(sheet.left, sheet.y + 4, f"{label}:")
            sheet.draw.line((sheet.left + 130, sheet.y + height - 6, sheet.right, sheet.y + height - 6), fill=sheet.ink)
        if rng.random() < 0.45:
            sheet.text(sheet.left + 138, sheet.y + 5, sheet.words(2), 11, (30, 40, 140))
        sheet.y += height + rng.randint(0, 6)
        if rng.random() < 0.25:
            for _ in range(rng.randint(2, 4)):
                sheet.box(sheet.left, sheet.y, 9, 9)
                sheet.text(sheet.left + 16, sheet.y - 1, sheet.words(2), 9)
                sheet.y += 15
    sheet.scrawl(sheet.right - 100, sheet.height - 55, 80, 24)
    return sheet


def bank_statement(rng: random.Random, layout: int) -> Sheet:
    """Movements of an account."""
    sheet = _upright(rng)
    sheet.size = rng.randint(8, 10)
    bank = f"{rng.choice(('First', 'City', 'Union', 'Trust'))} Bank"
    if layout == 1:
        sheet.box(sheet.left, sheet.y, 26, 26, sheet.accent)
        sheet.text(sheet.left + 34, sheet.y + 4, bank, 16, sheet.accent)
        sheet.y += 38
    else:
        sheet.put(bank.upper(), 15, "left" if layout else "centre", sheet.accent)
    sheet.put(rng.choice(("Account statement", "Statement of account", "거래 내역")), 12)
    sheet.pair("Account", f"{sheet.code(4)} {sheet.code(4)} {sheet.code(4)}", at=90)
    sheet.pair("Period", f"{sheet.date()} to {sheet.date()}", at=90)
    sheet.gap(0.5)
    balance, rows = rng.uniform(500, 9000), []
    for _ in range(rng.randint(12, 24)):
        move = rng.uniform(-400, 400)
        balance += move
        rows.append([f"{sheet.date()}  {sheet.words(1)}", f"{move:,.2f}", f"{balance:,.2f}"])
    sheet.table(["Date, details", "Amount", "Balance"], rows, ruled=layout == 2, shaded=layout == 0)
    sheet.gap(0.5)
    sheet.put(f"Closing balance {balance:,.2f}", 12, "right")
    return sheet


KINDS: dict[str, Callable[[random.Random, int], Sheet]] = {
    "receipt": receipt,
    "invoice": invoice,
    "resume": resume,
    "prescription": prescription,
    "id_card": id_card,
    "passport": passport,
    "licence_plate": licence_plate,
    "letter": letter,
    "form": form,
    "bank_statement": bank_statement,
}


def render_page(kind: str, seed: int, number: int) -> Image.Image:
    """One sample document, from (kind, seed, number) alone; layouts take turns."""
    rng = random.Random(f"{kind}/{seed}/{number}")
    return KINDS[kind](rng, number % LAYOUTS).scanned()
