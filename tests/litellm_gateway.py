"""A gateway made with LiteLLM as it is published: mocked calls, sent by the generic API callback that it ships.

It is set up by the config.yaml of docs/litellm.md, as its proxy does, which needs more packages than the tests have.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from typing import Any

os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"
os.environ["DEFAULT_FLUSH_INTERVAL_SECONDS"] = "3600"

import litellm
import openai
import yaml  # type: ignore[import-untyped]
from litellm.integrations.generic_api.generic_api_callback import GenericAPILogger

MESSAGES = [{"role": "user", "content": "s3cret question"}]


async def make(kind: str, options: dict[str, Any]) -> None:
    """Make one call; what goes wrong is the caller's, who has heard of it."""
    try:
        if kind == "embedding":
            await litellm.aembedding(input=["text"], **options)
        elif kind == "image":
            await litellm.aimage_generation(prompt="a cat", **options)
        elif options.get("stream"):
            async for _part in await litellm.acompletion(messages=MESSAGES, **options):
                pass
        else:
            await litellm.acompletion(messages=MESSAGES, **options)
    except openai.OpenAIError as error:
        print(type(error).__name__, flush=True)


async def main(config: str, settings: dict[str, Any], calls: list[tuple[str, dict[str, Any]]], deliveries: int) -> None:
    """Make the calls, and let LiteLLM send what it logged of them so many times; `settings` change the config's."""
    whole = yaml.safe_load(config)
    (name,) = whole["litellm_settings"].pop("callbacks")
    whole["callback_settings"][name] |= settings
    litellm.callback_settings = whole["callback_settings"]
    litellm.logging_callback_manager.add_litellm_callback(name)
    for setting, value in whole["litellm_settings"].items():
        assert hasattr(litellm, setting)
        setattr(litellm, setting, value)
    (logger,) = (callback for callback in litellm.callbacks if isinstance(callback, GenericAPILogger))
    for kind, options in calls:
        await make(kind, options)
    while len(logger.log_queue) < len(calls):
        await asyncio.sleep(0.01)
    logged = list(logger.log_queue)
    print("made", len(logged), flush=True)
    for _delivery in range(deliveries):
        logger.log_queue[:] = logged
        await logger.flush_queue()


if __name__ == "__main__":
    asyncio.run(main(**json.loads(sys.argv[1])))
