"""What nobody may see is written nowhere."""

from __future__ import annotations

import json
from base64 import b64encode
from collections.abc import Callable
from typing import Any
from urllib.parse import quote

import pytest
from simulated_aws.invariants import ALWAYS, check, nothing_secret_is_written
from simulated_aws.network import SimulatedAws
from simulated_aws.stories import HOUR, Service, last
from simulated_aws.templates import reprocessing
from simulated_aws.troubles import Fault, Trouble
from simulated_aws.world import LOG_GROUP, World

from pipeline_reprocessing_handler.aws import Aws
from pipeline_reprocessing_handler.aws_errors import Refused
from pipeline_reprocessing_handler.index import Handler
from pipeline_reprocessing_handler.invocation import Invocation, Waiting
from pipeline_reprocessing_handler.response import Answer


@pytest.mark.parametrize("timeout", [3000, 12 * HOUR], ids=["ResponseURL", "SignalUrl"])
def test_no_secret_is_written_even_at_debug_and_in_trouble(service: Service, timeout: int) -> None:
    trouble = [Fault("put", Trouble.DROPPED_BEFORE, times=20), Fault("invoke", Trouble.ERROR_BEFORE)]

    with World(service.kind, faults=trouble, debug=True) as world:
        world.deploy(reprocessing(service.kind, timeout=timeout))

    written = "\n".join([*world.functions.log, *world.functions.errors, *world.logs.streams])
    assert world.functions.errors
    assert len(world.functions.log) > 10
    assert not [secret for secret in world.cloudformation.secrets if secret in written]
    check(world, *ALWAYS)  # 20 lost answers in a row are no fair weather


QUOTES: dict[str, Callable[[str], str]] = {
    "JSON": lambda url: url.replace("&", "\\u0026"),
    "middle": lambda url: url[-40:-4],
    "percent": quote,
    "Base64": lambda url: b64encode(url.encode()).decode(),
}


@pytest.mark.parametrize("way", QUOTES)
def test_a_service_that_quotes_what_it_was_sent_reveals_nothing(
    way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Lambda refuses the continuation, and its error quotes the payload."""
    send = SimulatedAws.send

    def refuse(
        aws: SimulatedAws, service: str, operation: str, endpoint_url: str | None, parameters: Any
    ) -> Any:
        if operation == "invoke":
            raise Refused(f"lambda:invoke: {QUOTES[way](json.loads(parameters['Payload'])['ResponseURL'])}")
        return send(aws, service, operation, endpoint_url, parameters)

    monkeypatch.setattr(SimulatedAws, "send", refuse)
    with World(debug=True) as world:
        world.deploy(reprocessing())

    accepted = last(world, "Create").accepted
    assert accepted
    assert "[secret]" in accepted.document["Reason"]
    check(world, nothing_secret_is_written)


class _Discreet(Handler):
    """Sets crhelper's own switch, as its documents say."""

    def create_or_update(self, invocation: Invocation) -> Answer | Waiting:
        self._adapter.NoEcho = True
        return super().create_or_update(invocation)


def test_no_echo_of_crhelper_reaches_the_answer_and_not_the_next() -> None:
    def discreet(aws: Aws) -> Handler:
        return _Discreet(aws, LOG_GROUP)

    with World(make_handler=discreet) as world:
        world.deploy(reprocessing(timeout=None)).destroy()

    created, deleted = last(world, "Create").accepted, last(world, "Delete").accepted
    assert created
    assert deleted
    assert created.document["NoEcho"] is True
    assert deleted.document["NoEcho"] is False
    check(world)
