"""Class names in plots: drawn with a font that has them, or romanised."""

import logging
from collections.abc import Callable, Iterator, Mapping
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from docclf_cli.plots import fonts
from docclf_cli.plots.fonts import drawable, font_families, is_hangul, romanised

Install = Callable[[Mapping[str, str]], None]


@pytest.fixture
def install(monkeypatch: pytest.MonkeyPatch) -> Iterator[Install]:
    """Pretend that exactly these fonts are installed: by family, the characters that it has beside Latin ones."""

    def install_(families: Mapping[str, str]) -> None:
        entries = [SimpleNamespace(name=name, fname=name) for name in families]
        monkeypatch.setattr(fonts.fontManager, "ttflist", entries)
        monkeypatch.setattr(fonts, "findSystemFonts", list)
        monkeypatch.setattr(fonts, "findfont", lambda family: family)
        monkeypatch.setattr(
            fonts,
            "_missing",
            lambda file, chars: frozenset(c for c in chars if not c.isascii() and c not in families.get(file, "")),
        )

    _forget()
    yield install_
    _forget()


def _forget() -> None:
    fonts._family_for.cache_clear()
    fonts._say_once.cache_clear()


@pytest.mark.parametrize(
    ("text", "latin"),
    [
        ("영수증 ok", "yeongsujeung ok"),
        ("주민등록증", "jumindeungrokjeung"),
        ("한글", "hangeul"),
        ("여권 2", "yeogwon 2"),
        ("값", "gap"),
        ("外 é", "外 é"),
    ],
)
def test_hangul_in_latin_letters(text: str, latin: str) -> None:
    assert romanised(text) == latin


@given(st.text(st.characters(min_codepoint=0xAC00, max_codepoint=0xD7A3), min_size=1))
def test_every_syllable_has_latin_letters(text: str) -> None:
    latin = romanised(text)
    assert latin.isascii()
    assert latin.islower()
    assert len(latin) >= len(text)


def test_a_font_with_hangul_is_used_where_there_is_one(install: Install) -> None:
    install({"Aardvark": "", "Zebra Gothic": "영수증"})
    assert drawable(["영수증", "receipt"]) == ["영수증", "receipt"]
    assert font_families(["영수증", "receipt"]) == ["DejaVu Sans", "Zebra Gothic"]
    assert font_families(["receipt"]) == ["DejaVu Sans"]


def test_a_well_known_font_is_asked_first(install: Install) -> None:
    install({"A Fancy Script": "영", "NanumGothic": "영"})
    assert font_families(["영"]) == ["DejaVu Sans", "NanumGothic"]


def test_two_scripts_take_two_fonts(install: Install) -> None:
    install({"Kana": "レ", "NanumGothic": "영"})
    assert font_families(["영", "レ"]) == ["DejaVu Sans", "NanumGothic", "Kana"]


def test_without_a_font_names_are_romanised_and_that_is_said_once(
    install: Install, caplog: pytest.LogCaptureFixture
) -> None:
    install({"Last Resort High-Efficiency": "영수증여권", "Latin Only": ""})
    with caplog.at_level(logging.WARNING, "docclf"):
        assert drawable(["영수증", "receipt"]) == ["yeongsujeung", "receipt"]
        assert drawable(["여권"]) == ["yeogwon"]
    assert [record.message for record in caplog.records if "Hangul" in record.message] == [caplog.messages[0]]


def test_no_font_is_asked_for_where_there_is_no_hangul(install: Install, caplog: pytest.LogCaptureFixture) -> None:
    install({})
    assert drawable(["é", "receipt"]) == ["é", "receipt"]
    assert caplog.messages == []


def test_matplotlibs_placeholder_font_is_never_taken_for_letters() -> None:
    """It has a box for every character there is, and comes with matplotlib."""
    _forget()
    families = font_families(["영수증"])
    assert not any(name.startswith("Last Resort") for name in families)
    assert all(map(is_hangul, "영수증"))


def test_a_font_installed_after_matplotlib_made_its_list_is_found(
    install: Install, monkeypatch: pytest.MonkeyPatch
) -> None:
    install({"Latin Only": ""})
    monkeypatch.setattr(fonts, "findSystemFonts", lambda: ["Latin Only", "New Gothic"])

    def missing(file: str, chars: frozenset[str]) -> frozenset[str]:
        return frozenset() if file == "New Gothic" else chars

    def addfont(file: str) -> None:
        fonts.fontManager.ttflist.append(SimpleNamespace(name=file, fname=file))

    monkeypatch.setattr(fonts, "_missing", missing)
    monkeypatch.setattr(fonts.fontManager, "addfont", addfont)
    assert drawable(["영수증"]) == ["영수증"]
    assert [entry.name for entry in fonts.fontManager.ttflist] == ["Latin Only", "New Gothic"]
