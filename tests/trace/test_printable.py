"""Foreign text can't steer a terminal, and figures are short."""

from __future__ import annotations

import re
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from claude_bridge.trace.console.printable import NO_BREAK, printable, rate, seconds, shortened, size


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x1b[31mred\x1b[0m", "\\x1b[31mred\\x1b[0m"),
        ("\x1b]0;title\x07", "\\x1b]0;title\\x07"),
        ("\x9b31m", "\\x9b31m"),
        ("a\rb\r\nc", "ab\nc"),
        ("a\tb", "a    b"),
        ("abc\u202edcba", "abc\\u202edcba"),
        ("zero\u200bwidth", "zero\\u200bwidth"),
        ("tag\U000e0041", "tag\\U000e0041"),
        ("lone \ud83d", "lone \\ud83d"),
        ("a\u2028b", "a\nb"),
        ("naïve 日本語 👩\u200d🚀 می\u200cخواهم", "naïve 日本語 👩\u200d🚀 می\u200cخواهم"),  # noqa: RUF001 - Persian
    ],
)
def test_control_characters_are_spelled_out_and_words_stay(text: str, shown: str) -> None:
    assert printable(text) == shown


@given(st.text(st.characters()))
def test_no_control_character_passes(text: str) -> None:
    shown = printable(text)
    assert not any(unicodedata.category(char) in ("Cc", "Cs") for char in shown.replace("\n", ""))
    assert not re.search("[\u202a-\u202e\u2066-\u2069]", shown)


@pytest.mark.parametrize(
    ("figure", "shown"),
    [
        (size(0), "0 B"),
        (size(999), "999 B"),
        (size(1000), "1.0 kB"),
        (size(9_949), "9.9 kB"),
        (size(9_950), "10 kB"),
        (size(76_432), "76 kB"),
        (size(999_499), "999 kB"),
        (size(999_500), "1.0 MB"),
        (seconds(-0.1), "0 ms"),
        (seconds(0.0312), "31 ms"),
        (seconds(0.9996), "1.0 s"),
        (seconds(3.94), "3.9 s"),
        (seconds(9.96), "10 s"),
        (seconds(119.4), "119 s"),
        (seconds(125), "2 min 05 s"),
        (rate(212, 2.5), "85 tokens/s"),
        (rate(3, 2), "1.5 tokens/s"),
        (shortened("abcdef", 6), "abcdef"),
        (shortened("abcdefg", 6), "abcde…"),
    ],
)
def test_figures_have_the_digits_that_matter(figure: str, shown: str) -> None:
    assert figure.replace(NO_BREAK, " ") == shown
