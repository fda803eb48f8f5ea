"""What keys look like: the forms of the large services, and where they stand in a text."""

from __future__ import annotations

import re
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

Span = tuple[int, int]

_STEP_BYTES, _BEYOND_BYTES, _BEFORE_BYTES = 64 * 1024, 8 * 1024, 16
"""How much is searched without a pause, and how far beyond and before it that is seen which begins there."""

_PAUSE_S = 0.0005

_SIEVES = {
    "=": re.compile(
        rb"=(?:(?<=[?&]key=)|(?<=[?&]token=)|(?<=[?&]api_key=)|(?<=[?&]access_token=)"
        rb"|(?<=_key=)|(?<=_token=)|(?<=_secret=)|(?<=password=))"
    ),
    "_": re.compile(
        rb"_(?:(?<=gsk_)|(?<=hf_)|(?<=gh[pousr]_)|(?<=github_pat_)|(?<=npm_)|(?<=fw_)|(?<=r8_)|(?<=k_live_)|(?<=secret_)(?=access_key)"
        rb"|(?<=session_)(?=token))"
    ),
    "-": re.compile(
        rb"-(?:(?<=sk-)|(?<=xai-)|(?<=pplx-)|(?<=nvapi-)|(?<=tvly-)|(?<=glpat-)|(?<=gocspx-)|(?<=xox[a-z]-)|(?<=xapp-)|(?<=x-)(?=api-key)"
        rb"|(?<=-----)(?=begin))"
    ),
    "A": re.compile(rb"A(?=Iza|KIA|SIA)"),
}
"""By the rarest character of some forms: a text in which this finds nothing holds none of these. It runs from one such
character to the next, and takes a third of the time of a search for each form."""


class KeyForm(NamedTuple):
    """What a kind of key looks like; group 1 of ``pattern`` is taken out. A text without ``mark`` holds none."""

    mark: bytes
    pattern: re.Pattern[bytes]
    is_exact: bool = False
    """Whether capitals count: in lower case the form would be found in the base64 of images."""
    stands_alone: bool = False
    """Whether no letter or digit may stand before it, as in "task-…"."""
    sieve: str = ""
    """Which of the sieves finds it too."""


def _form(mark: bytes, pattern: bytes, *, is_exact: bool = False, stands_alone: bool = False) -> KeyForm:
    sieve = next((char for char in _SIEVES if char.encode() in mark), "")
    return KeyForm(mark, re.compile(pattern), is_exact, stands_alone, sieve)


_SET_TO = rb"[\"'\\]*\s*[:=][\s\"'\\]*"

# The patterns run on lower-cased bytes unless they are exact, and each begins with a literal, which lets ``re`` skip
# ahead at the speed of a plain search; the search for the mark alone is faster still.
KEY_FORMS = (
    _form(b"sk-", rb"(sk-(?:ant|proj|or)-[a-z0-9_-]{8,})"),
    _form(b"sk-", rb"(sk-(?:[a-z0-9_-]{16,}|(?=[a-z_-]{0,15}[0-9])[a-z0-9_-]{8,}))", stands_alone=True),
    *(_form(mark, rb"(%b[a-z0-9_-]{8,})" % mark) for mark in (b"gsk_", b"xai-", b"hf_")),
    *(_form(mark, rb"(%b[a-z0-9_-]{20,})" % mark) for mark in (b"pplx-", b"nvapi-", b"tvly-", b"csk-", b"fw_", b"r8_")),
    # GitHub, GitLab, npm, Stripe
    _form(b"_", rb"(gh[pousr]_[a-z0-9_]{16,})"),
    *(_form(mark, rb"(%b[a-z0-9_-]{16,})" % mark) for mark in (b"github_pat_", b"glpat-", b"npm_")),
    _form(b"_live_", rb"([sr]k_live_[a-z0-9]{16,})"),
    # Google: API keys, access tokens, OAuth client secrets
    _form(b"AIza", rb"(AIza[A-Za-z0-9_-]{16,})", is_exact=True, stands_alone=True),
    _form(b"ya29.", rb"(ya29\.[a-z0-9_-]{16,})", stands_alone=True),
    _form(b"GOCSPX-", rb"(GOCSPX-[A-Za-z0-9_-]{16,})", is_exact=True),
    # AWS: key ids, and secrets by the names under which they are set
    *(_form(mark, rb"(%b[A-Z0-9]{16,})" % mark, is_exact=True, stands_alone=True) for mark in (b"AKIA", b"ASIA")),
    *(
        _form(mark, rb"%b[\"'\\]*\s*[:=][\s\"'\\]*([a-z0-9/+=]{16,})" % mark)
        for mark in (b"secret_access_key", b"secretaccesskey", b"session_token", b"sessiontoken")
    ),
    # Slack: tokens and webhooks
    _form(b"-", rb"(xox[a-z](?:\.[a-z]+)?-[a-z0-9-]{8,})", stands_alone=True),
    _form(b"xapp-", rb"(xapp-[a-z0-9-]{8,})"),
    _form(b"hooks.slack.com/", rb"hooks\.slack\.com/(?:services|workflows|triggers)/([a-z0-9/]{8,})"),
    # Private keys of any kind, also where the end of the block was cut off
    _form(
        b"-----begin",
        rb"(-----begin [a-z0-9 ]{0,40}?private key(?: block)?-----(?:[^-]|-(?!----)){0,32768}"
        rb"(?:-----end [a-z0-9 ]{0,60}-----)?)",
    ),
    # Signed tokens of any service
    _form(
        b"eyJ",
        rb"(eyJ[A-Za-z0-9_-]{8,256}\.[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,})",
        is_exact=True,
        stands_alone=True,
    ),
    # The output of env
    *(
        _form(b"%b=" % name, rb"%b=([^\s\"'\\$<>()\[\]{}&;,]{8,})" % name, is_exact=True)
        for name in (b"_KEY", b"_TOKEN", b"_SECRET", b"PASSWORD")
    ),
    # Headers and URLs
    _form(b"basic ", rb"basic +((?=[a-z+/]{0,99}[0-9=])[a-z0-9+/]{8,}=*)"),
    _form(b"bearer ", rb"bearer +((?:[a-z0-9._~+/=-]{16,}|(?=[a-z._~+/=-]{0,15}[0-9])[a-z0-9._~+/=-]{6,}))"),
    _form(b"x-api-key", rb"x-api-key[\"'\\]*\s*[:=][\s\"'\\]*([^\s\"'\\,;${<\[]{4,})"),
    *(
        _form(b"%b=" % name, rb"%b=(?<=[?&]%b=)([^&\s\"'\\#<>]{8,})" % (name, name))
        for name in (b"key", b"token", b"api_key", b"access_token")
    ),
    _form(b"@", rb"://[^\s\"'\\/:@]*:([^\s\"'\\/@]{1,256})@"),
)

# "task-…" is no key, but "\nsk-…" is one, and so is one behind a colour code.
_MAY_STAND_BEFORE_KEY = re.compile(rb"(?:^|[^a-z0-9]|\\[nrtbf]|\\u[0-9a-f]{4}|\[[0-9;]*m)\Z")


def by_sieve(forms: Iterable[KeyForm]) -> dict[str, list[KeyForm]]:
    """Return the forms by their sieves: where one finds nothing, none of its forms need be looked at."""
    groups: dict[str, list[KeyForm]] = {}
    for form in forms:
        groups.setdefault(form.sieve, []).append(form)
    return groups


def find_keys(text: bytes, forms: Mapping[str, Sequence[KeyForm]]) -> Iterator[Span]:
    """Yield where keys of these forms are, in no order; some may overlap.

    A long text is searched in steps with pauses: other threads can't run beside a search.
    """
    goes_on: dict[KeyForm, int] = {}
    """Where the search for each form continues: after the last match."""
    for start in range(0, len(text), _STEP_BYTES):
        begin, end = max(0, start - _BEFORE_BYTES), start + _STEP_BYTES
        part = text[begin : end + _BEYOND_BYTES] if len(text) > _STEP_BYTES else text
        lowered = part.lower()  # of bytes: only ASCII changes, so places stay the same
        for sieve, of_sieve in forms.items():
            if sieve and not _SIEVES[sieve].search(part if sieve.isupper() else lowered):
                continue
            for form in of_sieve:
                searched = part if form.is_exact else lowered
                if form.mark not in searched:
                    continue
                at = max(goes_on.get(form, 0), start) - begin
                while (match := form.pattern.search(searched, at)) and match.start() < end - begin:
                    first, last = match.span(1)
                    if match.end() == len(part):
                        last = match.start() + _whole(form, text, begin + match.start())
                    if not form.stands_alone or _may_stand(lowered, first):
                        yield begin + first, begin + last
                    at = max(match.end(), last)
                    goes_on[form] = begin + at
        if end < len(text):
            time.sleep(_PAUSE_S)


def _whole(form: KeyForm, text: bytes, start: int) -> int:
    """Return where a key ends, from its start, though that is far away."""
    size = 64 * 1024
    while True:
        part = text[start : start + size]
        match = form.pattern.match(part if form.is_exact else part.lower())
        if match is None or match.end() < size:
            return match.end(1) if match else len(part)
        size *= 2


def _may_stand(lowered: bytes, start: int) -> bool:
    return _MAY_STAND_BEFORE_KEY.search(lowered[max(0, start - 12) : start]) is not None
