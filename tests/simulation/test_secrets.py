"""What nobody may see is written nowhere."""

from __future__ import annotations

import pytest
from simulated_aws.invariants import ALWAYS, check
from simulated_aws.stories import HOUR, Service, last
from simulated_aws.templates import reprocessing
from simulated_aws.troubles import Fault, Trouble
from simulated_aws.world import LOG_GROUP, World

from pipeline_reprocessing_handler.aws import Aws
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
