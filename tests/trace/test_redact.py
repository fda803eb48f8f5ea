"""Secrets and what names a person's device leave an event, and nothing else does."""

from __future__ import annotations

import json
import time
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Raw

from claude_bridge.conversion.loss import Loss
from claude_bridge.trace.events import RequestReceived, TraceEvent
from claude_bridge.trace.jsonl import encode_event
from claude_bridge.trace.redact import MAX_BODY_BYTES, Redactor
from claude_bridge.trace.secrets import REDACTED
from claude_bridge.wire.anthropic import TextBlock, ToolUseBlock
from tests.trace.samples import ended, failed, received, sent

AWKWARD = 'pa"ss\\wörd/🔑+12'


def _redacted_body(body: bytes, *secrets: str) -> bytes:
    event = Redactor(secrets).redact(received(body=body))
    assert isinstance(event, RequestReceived)
    return bytes(event.body)


def _nested(secret: str, levels: int, *, ascii_only: bool) -> bytes:
    text = f"key={secret}."
    for _ in range(levels):
        text = json.dumps({"in": text}, ensure_ascii=ascii_only)
    return text.encode()


@pytest.mark.parametrize("ascii_only", [True, False], ids=["ascii escapes", "utf-8"])
@pytest.mark.parametrize("levels", [0, 1, 2, 3])
def test_a_secret_is_found_however_deep_it_is_escaped(levels: int, ascii_only: bool) -> None:
    clean = _redacted_body(_nested(AWKWARD, levels, ascii_only=ascii_only), AWKWARD)

    assert clean == _nested(REDACTED, levels, ascii_only=ascii_only)


def test_a_secret_is_found_where_a_serializer_escapes_more_than_it_must() -> None:
    assert _redacted_body(rb'{"a":"p\/q\u002Br\u003d\u003d-secret"}', "p/q+r==-secret") == b'{"a":"[redacted]"}'


def test_a_secret_is_taken_out_of_every_field_of_every_event() -> None:
    secret = "tr0ub4dor-and-more"
    events: list[TraceEvent] = [
        msgspec.structs.replace(received(), model=secret, user_agent=secret, session=secret, path=f"/{secret}"),
        msgspec.structs.replace(sent(losses=[Loss(f"$.{secret}", secret)]), url=f"http://h/?key={secret}"),
        ended([TextBlock(secret), ToolUseBlock("t", secret, Raw(json.dumps({"a": [secret]}).encode()))]),
        failed(f"the engine said: {secret}"),
    ]
    for event in events:
        assert secret.encode() in _all_bytes(event)
        clean = Redactor([secret]).redact(event)
        assert secret.encode() not in _all_bytes(clean)
        assert REDACTED.encode() in _all_bytes(clean)


def _all_bytes(event: TraceEvent) -> bytes:
    fields: dict[str, Any] = msgspec.structs.asdict(event)
    return bytes(fields.pop("body", b"")) + msgspec.json.encode(fields)


@pytest.mark.parametrize(
    "key",
    [
        "sk-abcdefghijklmnopqrstuvwx",
        "sk-ant-api03-AbC_dEf-123",
        "sk-proj-aaaaaaaaaa",
        "gsk_0123456789abcdef",
        "xai-abcdefgh12345678",
        "AIzaSyA1234567890abcdefghijklmn",
        "hf_abcdefghijkl",
        "ghp_0123456789abcdefghij",
        "gho_0123456789abcdefghij",
        "ghs_0123456789abcdefghij",
        "github_pat_11ABCDEFG0123456789_abcdefghijkl",
        "glpat-abcdefghij0123456789",
        "AKIAIOSFODNN7EXAMPLE",
        "ASIAIOSFODNN7EXAMPLE",
        "ya29.a0AfH6SMBabcdefghijklmnop",
        "GOCSPX-abcdefghijklmnopqrstuv",
        "xoxb-123456789012-abcdefghijkl",
        "xoxp-123456789012-abcdefghijkl",
        "xapp-1-A0123456789-abcdefghijkl",
        "sk_live_0123456789abcdefghij",
        "npm_0123456789abcdefghijklmnopqrstuvwxyz",
        "pplx-0123456789abcdefghijklmnop",
        "nvapi-0123456789abcdefghijklmnop",
        "tvly-0123456789abcdefghijklmnop",
        "csk-0123456789abcdefghijklmnop",
        "fw_0123456789abcdefghijklmnop",
        "r8_0123456789abcdefghijklmnop",
        "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.dozjgNryP4J3jVmNHl0w5N",
    ],
)
def test_what_looks_like_a_key_is_taken_out(key: str) -> None:
    places = ("{}", "export KEY={}", "KEY='{}'", "line\n{}", "tab\t{}", "\x1b[31m{}\x1b[0m", "see {}.")
    for around in (*places, "https://h/?key={}&x=1"):
        text = around.format(key)
        assert _redacted_body(json.dumps(text).encode()) == json.dumps(around.format(REDACTED)).encode(), around
        assert _redacted_body(text.encode()) == around.format(REDACTED).encode(), around


@pytest.mark.parametrize(
    ("text", "clean"),
    [
        ("Authorization: Bearer abc.def-123", "Authorization: Bearer [redacted]"),
        ("authorization: bearer abcdefghijklmnopqrst==", "authorization: bearer [redacted]"),
        ("curl -H 'x-api-key: hunter22' http://h", "curl -H 'x-api-key: [redacted]' http://h"),
        ('{"X-API-Key": "hunter22"}', '{"X-API-Key": "[redacted]"}'),
        ("Authorization: Basic bWU6aHVudGVyMjI=", "Authorization: Basic [redacted]"),
        ("GET /v1?key=abcdefghij&x=1", "GET /v1?key=[redacted]&x=1"),
        ("https://h/?x=1&access_token=abcdefghij", "https://h/?x=1&access_token=[redacted]"),
        ("MY_API_KEY=abcdefghij", "MY_API_KEY=[redacted]"),
        ("DB_PASSWORD=correct-horse", "DB_PASSWORD=[redacted]"),
        ("git clone https://me:hunter22@host/x.git", "git clone https://me:[redacted]@host/x.git"),
        ("AWS_SECRET_ACCESS_KEY=wJalrXUtnFEMI/K7MDENG+bPxRfiCY", "AWS_SECRET_ACCESS_KEY=[redacted]"),
        ('"SecretAccessKey": "wJalrXUtnFEMI/K7MDENG"', '"SecretAccessKey": "[redacted]"'),
        ("aws_session_token = FwoGZXIvYXdzEJr//////////wEa", "aws_session_token = [redacted]"),
        ("https://hooks.slack.com/services/T00/B00/abcdEFGH1", "https://hooks.slack.com/services/[redacted]"),
    ],
)
def test_values_of_credential_headers_are_taken_out(text: str, clean: str) -> None:
    assert _redacted_body(text.encode()) == clean.encode()
    assert _redacted_body(json.dumps(text).encode()) == json.dumps(clean).encode()


BLOCK = """-----BEGIN {kind}-----
Proc-Type: 4,ENCRYPTED
MIIEowIBAAKCAQEAx+abc/def
ghi==
-----END {kind}-----"""


@pytest.mark.parametrize(
    "kind", ["PRIVATE KEY", "RSA PRIVATE KEY", "OPENSSH PRIVATE KEY", "PGP PRIVATE KEY BLOCK", "EC PRIVATE KEY"]
)
def test_a_private_key_is_taken_out_as_a_block_whole_or_cut(kind: str) -> None:
    block = BLOCK.format(kind=kind)
    for text in (f"cat key\n{block}\ndone", f"KEY='{block}'"):
        clean = _redacted_body(json.dumps(text).encode())
        assert clean == json.dumps(text.replace(block, REDACTED)).encode()
    assert b"MIIE" not in _redacted_body(block[: len(block) // 2].encode())


def test_a_public_key_and_the_base64_of_an_image_stay() -> None:
    text = "-----BEGIN PUBLIC KEY-----\nMIIB\n-----END PUBLIC KEY-----"
    assert _redacted_body(text.encode()) == text.encode()
    image = "iVBORw0KGgoAAAANaizaabcdefghijklmnopqrstuvwxAKIAabcdefgh/xAIzaSyA1234567890abcdefgh"
    assert _redacted_body(image.encode()) == image.encode()


@pytest.mark.parametrize(
    "text",
    [
        "task-runner-implementation-detail-1234",
        "a risk-based approach; disk-space-monitoring-tools",
        "sk-learn",
        "Bearer authentication is used",
        "x-api-key: $ANTHROPIC_API_KEY",
        "http://localhost:11434/v1",
        "sorted(names, key=len_of_each); GH_TOKEN=$(gh auth token)",
        "Basic internationalization is enough",
    ],
)
def test_words_that_only_resemble_keys_stay(text: str) -> None:
    assert _redacted_body(text.encode()) == text.encode()


def test_a_lone_surrogate_in_an_error_does_not_end_the_trace() -> None:
    event = Redactor(["tr0ub4dor-and-more"]).redact(failed("a \ud800 and tr0ub4dor-and-more"))
    assert b"a \xef\xbf\xbd" in encode_event(event)
    assert b"tr0ub" not in encode_event(event)


def test_placeholders_for_engines_without_keys_are_no_secrets() -> None:
    assert _redacted_body(b'"ollama and lm-studio"', "ollama", "lm-studio", "", " ") == b'"ollama and lm-studio"'


def test_a_short_secret_is_left_alone_since_ordinary_words_may_hold_it() -> None:
    assert _redacted_body(b'"abc12 it exceeds"', "abc12", "x", "exceeds") == b'"abc12 it exceeds"'


def test_the_longer_of_two_secrets_is_taken_out_whole() -> None:
    assert _redacted_body(b"token-aaaa-bbbb", "token-aaaa", "token-aaaa-bbbb") == b"[redacted]"


def test_local_paths_and_the_device_leave_the_request_and_all_else_stays() -> None:
    user = {"device_id": "d" * 64, "account_uuid": "a-1", "session_id": "s-1"}
    body = {
        "model": "m",
        "metadata": {"user_id": json.dumps(user), "more": 1},
        "safeguards": [{"paths": ["/home/me"]}],
        "messages": [{"role": "user", "content": "about safeguards"}],
    }

    clean = json.loads(_redacted_body(json.dumps(body).encode()))

    assert clean == {
        "model": "m",
        "metadata": {"user_id": '{"session_id":"s-1"}', "more": 1},
        "messages": [{"role": "user", "content": "about safeguards"}],
    }


def test_an_older_clients_user_id_keeps_its_session_only() -> None:
    body = {"metadata": {"user_id": "user_dddd_account_aaaa_session_ssss"}}
    assert json.loads(_redacted_body(json.dumps(body).encode())) == {"metadata": {"user_id": "session_ssss"}}


def test_a_request_that_msgspec_refuses_loses_its_private_fields_too() -> None:
    lone_surrogate = rb'{"x":"\ud800","safeguards":["/home/me"],"metadata":{"user_id":"{\"device_id\":\"d\"}"}}'
    assert json.loads(_redacted_body(lone_surrogate)) == {"x": "\ud800", "metadata": {"user_id": "{}"}}


def test_a_body_that_is_no_json_ends_where_private_fields_begin() -> None:
    assert _redacted_body(b'{"model":"m","safeguards":["/home/me"') == b'{"model":"m","' + REDACTED.encode()


def test_a_body_without_secrets_is_left_byte_for_byte() -> None:
    body = b'{ "model" : "m",\n "metadata": {"user_id": "me"}, "messages": [] }'
    assert _redacted_body(body, "some-secret") == body


@given(st.binary() | st.text().map(lambda text: text.encode("utf-8", "surrogatepass")))
def test_no_body_makes_it_raise(body: bytes) -> None:
    _redacted_body(body, AWKWARD)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.sampled_from(["metadata", "user_id", "safeguards", "x"]), inner),
)


@given(json_values, st.booleans())
def test_json_stays_json(value: object, ascii_only: bool) -> None:
    body = json.dumps(value, ensure_ascii=ascii_only).encode("utf-8", "surrogatepass")
    json.loads(_redacted_body(body, AWKWARD, "metadata", "x-1"))


@given(st.text(min_size=8).filter(lambda text: len(text.strip()) >= 8))
def test_any_secret_is_found_in_json(secret: str) -> None:
    for ascii_only in (True, False):
        body = json.dumps({"k": f"<{secret.strip()}>"}, ensure_ascii=ascii_only).encode("utf-8", "surrogatepass")
        assert json.loads(_redacted_body(body, secret))["k"] == f"<{REDACTED}>"


@pytest.mark.parametrize("beginning", [b"", b'{"a":', b'{"metadata":', b'{"metadata":{"user_id":"'])
def test_deep_nesting_does_no_harm(beginning: bytes) -> None:
    body = beginning + b"[" * 100_000
    assert _redacted_body(body) == body


FILLERS = ["task-", "sk-sk-", "sk-a ", "x-api-key", "\\\\", "://", "bearer ", "-----BEGIN PRIVATE KEY-----", "ghp_"]
FILLERS += ["xoxb-", "eyJ", "eyJ.", " eyJa", "basic ", "_KEY=", "?key=", "_", "-", "="]


@pytest.mark.parametrize("filler", FILLERS)
def test_a_megabyte_takes_no_more_than_a_moment(filler: str) -> None:
    body = json.dumps({"messages": [{"role": "user", "content": filler * (1_000_000 // len(filler))}]}).encode()
    redactor = Redactor([AWKWARD])
    started = time.process_time()
    redactor.redact(received(body=body))
    assert time.process_time() - started < 5  # the slowest takes 0.2 s: this is against quadratic patterns


@pytest.mark.timing
@pytest.mark.parametrize("filler", ["sk-aaaaaaaa ", "x-api-key: abcd "])
def test_a_body_of_60_megabytes_takes_no_more_than_its_beginning(filler: str) -> None:
    body = filler.encode() * (60_000_000 // len(filler.encode()))
    started = time.process_time()
    clean = Redactor([AWKWARD]).redact(received(body=body))
    assert time.process_time() - started < 8  # it took 16 s
    assert isinstance(clean, RequestReceived)
    body_kept = bytes(clean.body)
    assert body_kept.endswith(b"... (%d bytes in all)" % len(body))
    assert len(body_kept) <= MAX_BODY_BYTES + 100


def test_a_secret_at_the_cut_of_a_long_body_is_taken_out() -> None:
    secret = "tr0ub4dor-and-more"
    for before in (1, 5, len(secret) - 1):
        filler = b"x" * (MAX_BODY_BYTES - before)
        clean = _redacted_body(filler + secret.encode() + filler, secret)
        assert b"tr0ub" not in clean
        assert b"and-more" not in clean


@given(st.integers(0, 12_000), st.integers(0, 30), st.text(max_size=20))
def test_the_next_turn_of_a_conversation_is_redacted_as_if_it_were_the_first(at: int, cut: int, more: str) -> None:
    """What both turns begin with is searched once; a secret that is cut in the first one is whole in the second."""
    secret = "tr0ub4dor-and-more"
    before = ("x " * 6_000)[:at] + " key AKIAIOSFODNN7EXAMPLE " + "y " * 3_000
    first = (before + secret[:cut]).encode()
    second = (before + secret + more).encode()
    redactor = Redactor([secret])
    for body in (first, second, second, first):
        event = redactor.redact(received(body=body))
        assert isinstance(event, RequestReceived)
        assert bytes(event.body) == _redacted_body(body, secret)
        assert REDACTED.encode() in bytes(event.body)
