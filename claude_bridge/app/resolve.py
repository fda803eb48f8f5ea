"""Finds the engine of a plan, and the model where none was named."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec.structs import replace

from claude_bridge.app.notices import Notices
from claude_bridge.app.plan import Plan
from claude_bridge.errors import BridgeError, SetupError, SeveralModelsError
from claude_bridge.providers import Upstream

if TYPE_CHECKING:
    from claude_bridge.upstream.engines.report import OfferedModel


async def find_engine(plan: Plan, notices: Notices) -> Upstream:
    """Return the engine, with the model that was named, the only one that it has, or the one that the user chooses.

    Raises:
        SetupError: as ``discover`` does; SeveralModelsError where nobody can be asked.
        UpstreamError: the engine does not answer, or not yet.
    """
    try:
        return await ask_engine(plan, plan.upstream)
    except SeveralModelsError as several:
        offered = await _offered(plan, several)
        model = offered[0].id if len(offered) == 1 else await notices.choose_model(offered, several)
    return await ask_engine(plan, replace(plan.upstream, model=model))


async def ask_engine(plan: Plan, upstream: Upstream) -> Upstream:
    """Return the engine as the configuration describes it where it lists models, else as the engine itself does."""
    from claude_bridge.upstream.engines.configured import upstream_as_configured
    from claude_bridge.upstream.engines.discover import assumed, discover

    if plan.models:
        return upstream_as_configured(upstream, plan.models)
    if not plan.check:
        return assumed(upstream)
    return await discover(
        upstream,
        plan.api_key,
        key_hint=plan.key_hint,
        window_tokens=plan.window_tokens,
        may_upgrade=plan.may_upgrade,
    )


def with_limits(upstream: Upstream, plan: Plan) -> Upstream:
    """Return the upstream with the limits that the user gave."""
    return upstream.with_given_limits(window_tokens=plan.window_tokens, max_output_tokens=plan.max_output_tokens)


async def _offered(plan: Plan, several: SeveralModelsError) -> list[OfferedModel]:
    """Return the models to choose from, with what the engine reports of each; only their names if it reports nothing.

    Models that are known not to call tools, such as embedding models, are left out.
    """
    from claude_bridge.upstream.engines.catalog import Place, list_models
    from claude_bridge.upstream.engines.report import OfferedModel

    known = {model.id: model for model in plan.models}
    if not known:
        try:
            listing = await list_models(Place(provider="", upstream=plan.upstream, api_key=plan.api_key))
            known = {model.id: model for model in listing.models}
        except (BridgeError, SetupError):
            pass  # it has just named its models; what else it could report is not needed
    models = [known.get(name) or OfferedModel(id=name) for name in several.models]
    return [model for model in models if model.tools is not False] or models
