import pytest

from docclf_cli.data.packets.page_numbers import PageNumber, number_cues, page_numbers


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("Page 2 of 5", PageNumber(2, 5, True)),
        ("Seite 2 von 3", PageNumber(2, 3, True)),
        ("2/5", PageNumber(2, 5, True)),
        ("- 3 -", PageNumber(3)),
        ("페이지 4", PageNumber(4, 0, True)),
        ("4 페이지", PageNumber(4, 0, True)),
        ("p. 7", PageNumber(7, 0, True)),
    ],
)
def test_ways_to_write_a_page_number(line: str, found: PageNumber) -> None:
    assert found in page_numbers(f"Contract\nbetween two parties\nabout something\nmore\n{line}")


@pytest.mark.parametrize("line", ["Total 123,45", "31/12", "in 2024 we", "99999"])
def test_other_numbers_are_none(line: str) -> None:
    assert not page_numbers(f"Contract\nbetween two parties\nabout something\nmore\n{line}")


def test_numbers_in_the_middle_of_a_page_are_not_looked_at() -> None:
    lines = [f"line {letter}" for letter in "abcdefgh"]
    assert not page_numbers("\n".join([*lines[:4], "Page 2 of 5", *lines[4:]]))


def test_neighbours() -> None:
    def cues(before: str, after: str) -> list[float]:
        return list(number_cues(page_numbers(before), page_numbers(after)))

    assert cues("Page 2 of 5", "Page 3 of 5") == [1, 1, 0, 0, 0, 0]
    assert cues("Page 5 of 5", "Page 1 of 2") == [0, 0, 1, 1, 1, 1]
    assert cues("Page 2 of 5", "Page 3 of 4") == [0, 0, 0, 0, 0, 0]
    assert cues("- 1 -", "- 2 -") == [1, 0, 0, 0, 0, 0]
    assert cues("Page 4", "Page 7") == [0, 0, 0, 0, 0, 1]
    assert cues("", "") == [0] * 6
