"""What becomes of provider rows and models by what is configured."""

from __future__ import annotations

from pathlib import Path

from claude_bridge.adapters.engine_profiles import OPENAI, UNKNOWN
from claude_bridge.config.load import read_config
from claude_bridge.config.providers import configured_models, configured_rows
from claude_bridge.config.schema import Config
from claude_bridge.conversion.pricing import FREE, Prices
from claude_bridge.providers import PROVIDERS, Provider, upstream_of
from claude_bridge.upstream.engines.report import OfferedModel


def config_of(folder: Path, text: str, **variables: str) -> Config:
    file = folder / "config.toml"
    file.write_text(text)
    reading = read_config(file, variables)
    assert reading.mistakes == ()
    return reading.config


def row_of(folder: Path, name: str, text: str) -> Provider:
    return configured_rows(config_of(folder, text))[name]


def models_of(folder: Path, name: str, text: str, **variables: str) -> tuple[OfferedModel, ...]:
    config = config_of(folder, text, **variables)
    return configured_models(config, configured_rows(config)[name])


def test_rows_are_ours_where_nothing_is_configured() -> None:
    assert configured_rows(Config()) == PROVIDERS
    assert configured_models(Config(), PROVIDERS["ollama"]) == ()


def test_a_provider_of_ones_own_is_a_row_like_any(tmp_path: Path) -> None:
    row = row_of(tmp_path, "my-work.2", '[providers."my-work.2"]\nkind = "openai-chat"\nbase_url = "http://h:1/v1"')

    assert (row.name, row.display_name, row.kind, row.base_url) == (
        "my-work.2",
        "my-work.2",
        "openai-chat",
        "http://h:1/v1",
    )
    assert (row.key_variable, row.needs_key, row.profile) == ("MY_WORK_2_API_KEY", False, UNKNOWN)


def test_a_known_service_under_another_name_is_still_known(tmp_path: Path) -> None:
    text = '[providers.work]\nkind = "openai-chat"\nbase_url = "https://api.openai.com/v1"'
    assert row_of(tmp_path, "work", text).profile is OPENAI


def test_at_another_api_nothing_is_known_of_an_engine(tmp_path: Path) -> None:
    row = row_of(tmp_path, "ollama", '[providers.ollama]\nkind = "openai-chat"')
    assert (row.kind, row.profile, row.base_url) == ("openai-chat", UNKNOWN, PROVIDERS["ollama"].base_url)


def test_an_engine_behaves_like_the_provider_that_is_named(tmp_path: Path) -> None:
    own = row_of(tmp_path, "work", '[providers.work]\nkind = "openai-chat"\nbase_url = "http://h"\nprofile = "vllm"')
    openai = row_of(tmp_path, "openai", '[providers.openai]\nprofile = "vllm"')

    assert (own.profile, own.display_name) == (PROVIDERS["vllm"].profile, "work")
    upstream = upstream_of(openai, base_url="http://h", model="m")
    assert (upstream.profile, upstream.name) == (PROVIDERS["vllm"].profile, "vLLM")


def test_how_long_a_model_stays_loaded_is_part_of_the_profile(tmp_path: Path) -> None:
    row = row_of(tmp_path, "ollama", '[providers.ollama]\nkeep_alive = "2h"')
    assert row.profile.ollama.keep_alive == "2h"
    assert row.profile.evidence == PROVIDERS["ollama"].profile.evidence


OWN = '[providers.work]\nkind = "openai-chat"\nbase_url = "http://h"\n[[providers.work.models]]\nid = "m"\n'


def test_a_model_is_what_is_written_of_it(tmp_path: Path) -> None:
    text = (
        f"{OWN}context_window = 8192\nmax_tokens = 100\ntools = true\nthinking = false\nvision = true\n"
        "cost = { input = 1, output = 2, cached = 0.5 }"
    )
    assert models_of(tmp_path, "work", text) == (
        OfferedModel(
            id="m",
            tools=True,
            thinking=False,
            images=True,
            context_window=8_192,
            max_output_tokens=100,
            cost=Prices(input=1, output=2, cached=0.5),
        ),
    )


def test_what_is_not_written_is_not_known(tmp_path: Path) -> None:
    assert models_of(tmp_path, "work", OWN) == (OfferedModel(id="m"),)


def test_an_ollamas_model_has_defaults_for_what_it_does_not_report(tmp_path: Path) -> None:
    model = models_of(tmp_path, "ollama", '[[providers.ollama.models]]\nid = "m"')[0]
    assert (model.context_window, model.max_output_tokens, model.cost) == (8_192, 81_920, FREE)


def test_a_models_own_limit_goes_before_the_default_and_a_variable_before_both(tmp_path: Path) -> None:
    general = "[defaults]\ncontext_window = 1000\nmax_tokens = 10\n"
    own = f"{OWN}context_window = 2000\nmax_tokens = 20"

    def limits(text: str, **variables: str) -> tuple[int | None, int | None]:
        model = models_of(tmp_path, "work", text, **variables)[0]
        return model.context_window, model.max_output_tokens

    assert limits(f"{general}{OWN}") == (1_000, 10)
    assert limits(f"{general}{own}") == (2_000, 20)
    assert limits(f"{general}{own}", BRIDGE_CONTEXT_WINDOW="3000", BRIDGE_MAX_TOKENS="30") == (3_000, 30)
