"""Finding personal data and secrets in text: by form, and by check digits where there are some. Pure."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from ipaddress import ip_address
from string import ascii_uppercase
from types import MappingProxyType
from typing import TypeAlias

import re2

from gateway.config.guardrail import PersonalData

Span: TypeAlias = tuple[int, int]

# Lengths by country, from the registry of ISO 13616.
_IBAN_LENGTHS = MappingProxyType(
    {
        "AD": 24, "AE": 23, "AL": 28, "AT": 20, "AZ": 28, "BA": 20, "BE": 16, "BG": 22, "BH": 22, "BR": 29, "BY": 28,
        "CH": 21, "CR": 22, "CY": 28, "CZ": 24, "DE": 22, "DK": 18, "DO": 28, "EE": 20, "EG": 29, "ES": 24, "FI": 18,
        "FO": 18, "FR": 27, "GB": 22, "GE": 22, "GI": 23, "GL": 18, "GR": 27, "GT": 28, "HR": 21, "HU": 28, "IE": 22,
        "IL": 23, "IQ": 23, "IS": 26, "IT": 27, "JO": 30, "KW": 30, "KZ": 20, "LB": 28, "LC": 32, "LI": 21, "LT": 20,
        "LU": 20, "LV": 21, "LY": 25, "MC": 27, "MD": 24, "ME": 22, "MK": 19, "MR": 27, "MT": 31, "MU": 30, "NL": 18,
        "NO": 15, "PK": 24, "PL": 28, "PS": 29, "PT": 25, "QA": 29, "RO": 24, "RS": 22, "SA": 24, "SC": 31, "SD": 18,
        "SE": 24, "SI": 19, "SK": 24, "SM": 27, "ST": 25, "SV": 28, "TL": 23, "TN": 24, "TR": 26, "UA": 29, "VA": 22,
        "VG": 24, "XK": 20,
    }
)  # fmt: skip


_WITHOUT_SEPARATORS = str.maketrans("", "", " -")
_IBAN_VALUES = str.maketrans({letter: str(int(letter, 36)) for letter in ascii_uppercase})

# How much of a text is searched at once: the library reads all that it is given, however near the match is.
_STEP = 512


@dataclass(frozen=True, slots=True)
class Finder:
    """Finds what an expression matches, as far as `checked` agrees: the end of what is meant, given a match, or None.

    Of what begins at a place `max_length` characters are seen, and no more for certain. `hint` is a character without
    which there is no match: most texts need not be searched.
    """

    compiled: "re2._Regexp"
    max_length: int
    checked: Callable[[str, int, int], int | None] | None = None
    hint: str = ""
    is_run: bool = False

    def search(self, text: str, start: int, until: int) -> Span | None:
        """The first that begins at `start` or later, and before `until`, and is longer than nothing. What stands
        before `start` is seen, but no part of it."""
        while start < until:
            first = max(0, start - 1)
            step = min(_STEP, until - start)
            part = text[first : start + step + self.max_length]
            found = self._search(part, start - first, start - first + step)
            if found is not None:
                return first + found[0], first + found[1]
            start += step
        return None

    def _search(self, text: str, start: int, until: int) -> Span | None:
        if self.hint and text.find(self.hint, start) < 0:
            return None
        while start < until and (match := self.compiled.search(text, start)) is not None:
            begin, end = match.span()
            if begin >= until:
                break
            checked = end if self.checked is None else self.checked(text, begin, end)
            if checked is not None and checked > begin:
                return begin, checked
            start = end if self.is_run and end > begin else begin + 1
        return None


def _card_end(text: str, begin: int, end: int) -> int | None:
    """Where a card number ends that begins there: the longest that passes the check of Luhn, and is not part of more
    digits. Which digits count twice depends on how many there are, so both sums are kept."""
    last = None
    odd = even = count = 0
    for place in range(begin, end):
        if not text[place].isdigit():
            continue
        digit = int(text[place])
        twice = 2 * digit - 9 if digit > 4 else 2 * digit
        odd, even = (odd + digit, even + twice) if count % 2 == 0 else (odd + twice, even + digit)
        count += 1
        is_whole = place + 1 == len(text) or not text[place + 1].isdigit()
        if count > 12 and is_whole and (odd if count % 2 else even) % 10 == 0:
            last = place + 1
    return last


def _iban_end(text: str, begin: int, end: int) -> int | None:
    """Where an account number ends that begins there, by the length of its country."""
    length = _IBAN_LENGTHS.get(text[begin : begin + 2].upper())
    if length is None:
        return None
    last, missing = begin, length
    while last < end and missing:
        missing -= text[last] not in " -"
        last += 1
    if missing or (last < len(text) and text[last].isalnum()):
        return None
    number = text[begin:last].upper().translate(_WITHOUT_SEPARATORS)
    value = int((number[4:] + number[:4]).translate(_IBAN_VALUES))
    return last if value % 97 == 1 else None


def _address_end(text: str, begin: int, end: int) -> int | None:
    """Where an address ends; a dot or a colon after it belongs to the sentence, or to a port."""
    candidate = text[begin:end]
    is_v6 = ":" in candidate
    if is_v6 and not candidate.endswith("::"):
        candidate = candidate.rstrip(":")
    before, after = text[begin - 1 : begin], text[begin + len(candidate) : begin + len(candidate) + 2]
    if before.isalnum() or before in ("_", ".") or after[:1].isalnum() or after[:1] == "_":
        return None
    if after[1:].isalnum() and after[0] in (".:" if is_v6 else "."):
        return None
    try:
        ip_address(candidate)
    except ValueError:
        return None
    return begin + len(candidate) if any(each.isdigit() for each in candidate) else None


_API_KEYS = "|".join(
    (
        r"sk-[A-Za-z0-9_-]{20,124}",  # OpenAI, Anthropic and many who copy them
        r"AIza[A-Za-z0-9_-]{35}",  # Google
        r"(?:AKIA|ASIA)[A-Z0-9]{16}",  # AWS
        r"gh[pousr]_[A-Za-z0-9]{36,120}",  # GitHub
        r"github_pat_[A-Za-z0-9_]{22,110}",
        r"glpat-[A-Za-z0-9_-]{20,100}",  # GitLab
        r"xox[abeoprs]-[A-Za-z0-9-]{10,120}",  # Slack
        r"[rs]k_(?:live|test)_[A-Za-z0-9]{16,110}",  # Stripe
        r"hf_[A-Za-z0-9]{30,100}",  # Hugging Face
    )
)


FINDERS: Mapping[PersonalData, Finder] = MappingProxyType(
    {
        PersonalData.EMAIL: Finder(
            re2.compile(r"[A-Za-z0-9._%+-]+@(?:[A-Za-z0-9-]+\.)+[A-Za-z]{2,}"), max_length=128, hint="@"
        ),
        PersonalData.CREDIT_CARD: Finder(
            re2.compile(r"\b[2-6](?:[ -]?[0-9]){12,18}"), max_length=19 + 18, checked=_card_end
        ),
        PersonalData.IBAN: Finder(
            re2.compile(r"(?i)\b[a-z]{2}[0-9]{2}(?:[ -]?[a-z0-9]){11,28}"), max_length=32 + 31, checked=_iban_end
        ),
        PersonalData.PHONE: Finder(
            re2.compile(
                r"(?:\+[1-9](?:[ ().-]{0,2}[0-9]){7,14}|\(?\b[2-9][0-9]{2}\)?[ .-][2-9][0-9]{2}[ .-][0-9]{4})\b"
            ),
            max_length=2 + 3 * 14,
        ),
        PersonalData.IP_ADDRESS: Finder(
            re2.compile(
                r"[0-9]{1,3}(?:\.[0-9]{1,3}){3}|"
                r"[0-9A-Fa-f]{0,4}(?::[0-9A-Fa-f]{0,4}){2,7}(?:(?:\.[0-9]{1,3}){3})?"
            ),
            max_length=47,
            checked=_address_end,
            is_run=True,
        ),
        PersonalData.API_KEY: Finder(re2.compile(rf"\b(?:{_API_KEYS})"), max_length=128),
    }
)
