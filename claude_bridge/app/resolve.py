"""Finds the engine of a plan, and the model where none was named."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from claude_bridge.app.notices import Notices
from claude_bridge.errors import BridgeError, SetupError, SeveralModelsError
from claude_bridge.providers import Upstream

if TYPE_CHECKING:
    from claude_bridge.upstream.engines.engine import Engine
    from claude_bridge.upstream.engines.report import OfferedModel


async def find_engine(engine: Engine, notices: Notices) -> Upstream:
    """Return the engine, with the model that was named, the only one that it has, or the one that the user chooses.

    Raises:
        SetupError: as ``discover`` does; SeveralModelsError where nobody can be asked.
        UpstreamError: the engine does not answer, or not yet.
    """
    from claude_bridge.upstream.engines.discover import discover

    try:
        return await discover(engine)
    except SeveralModelsError as several:
        offered = await _offered(engine, several)
        model = offered[0].id if len(offered) == 1 else await notices.choose_model(offered, several)
    return await discover(engine.with_model(model))


async def _offered(engine: Engine, several: SeveralModelsError) -> list[OfferedModel]:
    """Return the models to choose from, with what the engine reports of each; only their names if it reports nothing.

    Models that are known not to call tools, such as embedding models, are left out.
    """
    from claude_bridge.upstream.engines.catalog import list_models
    from claude_bridge.upstream.engines.report import OfferedModel

    known: dict[str, OfferedModel] = {}
    with suppress(BridgeError, SetupError):  # it has just named its models; what else it could report is not needed
        known = {model.id: model for model in (await list_models(engine)).models}
    models = [known.get(name) or OfferedModel(id=name) for name in several.models]
    return [model for model in models if model.tools is not False] or models
