"""What engines report about their models, read in any spelling and from anything."""

from __future__ import annotations

from collections.abc import Callable

import msgspec
import pytest

from claude_bridge.wire.model_list import (
    GenerationSettings,
    ListedModel,
    OldStudioModel,
    Props,
    StudioAbilities,
    StudioModel,
    parse_listed_models,
    parse_old_studio_models,
    parse_props,
    parse_studio_models,
)


def test_a_field_of_another_type_counts_as_missing_and_costs_no_other() -> None:
    document = b'{"data":[{"id":"m","context_length":"4096","pricing":3,"capabilities":["x"],"max_model_len":[]}]}'
    assert parse_listed_models(document) == [ListedModel(id="m", context_length=4096)]


def test_an_entry_without_a_name_is_left_out() -> None:
    assert parse_listed_models(b'{"data":[{"id":null},{"id":"m"},7]}') == [ListedModel(id="m")]


def test_the_list_of_an_ollama_without_models_is_null() -> None:
    assert parse_listed_models(b'{"object":"list","data":null}') == []


@pytest.mark.parametrize("document", [b'{"models":[]}', b'{"data":null}', b'{"data":7,"object":"list"}'])
def test_what_is_no_list_of_models_is_refused(document: bytes) -> None:
    with pytest.raises(msgspec.DecodeError):
        parse_listed_models(document)


def test_props_are_read_in_part() -> None:
    document = b'{"default_generation_settings":{"n_ctx":4096},"modalities":[],"chat_template_caps":"all"}'
    assert parse_props(document) == Props(default_generation_settings=GenerationSettings(n_ctx=4096))


def test_lm_studio_may_report_reasoning_in_two_ways() -> None:
    document = (
        b'{"models":[{"key":"a","capabilities":{"reasoning":false}},{"key":"b","capabilities":{"reasoning":{}}}]}'
    )
    assert parse_studio_models(document) == [
        StudioModel(key="a", capabilities=StudioAbilities(reasoning=False)),
        StudioModel(key="b", capabilities=StudioAbilities(reasoning={})),
    ]


def test_only_a_list_with_states_is_that_of_an_older_lm_studio() -> None:
    assert parse_old_studio_models(b'{"data":[{"id":"a","state":"loaded"}]}') == [
        OldStudioModel(id="a", state="loaded")
    ]
    assert parse_old_studio_models(b'{"data":[{"id":"a"}]}') == []


@pytest.mark.parametrize("parse", [parse_listed_models, parse_props, parse_studio_models, parse_old_studio_models])
@pytest.mark.parametrize(
    "document",
    [b"", b"<html>", b"[]", b"\xff", b"[" * 10_000],
    ids=["nothing", "web page", "list", "bytes", "too deep"],
)
def test_what_is_no_such_document_is_one_kind_of_error(parse: Callable[[bytes], object], document: bytes) -> None:
    with pytest.raises(msgspec.DecodeError):
        parse(document)
