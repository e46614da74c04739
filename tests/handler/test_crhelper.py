"""What we rely on in crhelper's private parts, so that an upgrade which moves them is noticed."""

from __future__ import annotations

import inspect
import re
from importlib.metadata import requires, version
from pathlib import Path

from crhelper import FAILED, SUCCESS, CfnResource

from pipeline_reprocessing_handler.crhelper_adapter import CrhelperAdapter

OVERRIDDEN = {
    "__init__": "(self, json_logging=False, log_level='DEBUG', boto_level='ERROR', polling_interval=2, "
    "sleep_on_delete=120, ssl_verify=None)",
    "__call__": "(self, event, context)",
    "_crhelper_init": "(self, event, context)",
    "_wrap_function": "(self, func)",
    "_polling_init": "(self, event)",
    "_set_timeout": "(self)",
    "_send": "(self, status=None, reason='', send_response=<function _send_response>)",
}
OURS_ALONE = {"_forget_last_event"}
READ = {
    "_sam_local",
    "_send_response",
    "_timer",
    "_init_failed",
    "_event",
    "_context",
    "_response_url",
    "Status",
    "Reason",
    "PhysicalResourceId",
    "StackId",
    "RequestId",
    "LogicalResourceId",
    "RequestType",
    "Data",
    "NoEcho",
}


def signature_of(name: str) -> str:
    signature = str(inspect.signature(getattr(CfnResource, name)))
    return re.sub(r"<function (\w+) at \w+>|<(\w+) object.*?>", r"<function \1>", signature)


def test_crhelper_is_the_version_whose_private_parts_we_override(checkout: Path) -> None:
    needed = requires("cdk-pipeline-reprocessing") or []

    assert version("crhelper") == "2.0.12"
    assert [line for line in needed if line.startswith("crhelper")] == ["crhelper==2.0.12"]
    assert "crhelper==2.0.12" in (checkout / "requirements.txt").read_text()


def test_every_method_that_we_override_is_there_with_the_signature_that_we_know() -> None:
    methods = {name for name, value in vars(CrhelperAdapter).items() if inspect.isfunction(value)}

    assert methods == OVERRIDDEN.keys() | OURS_ALONE
    assert {name: signature_of(name) for name in OVERRIDDEN} == OVERRIDDEN
    assert not [name for name in OURS_ALONE if hasattr(CfnResource, name)]


def test_our_methods_take_what_crhelper_passes() -> None:
    for name in OVERRIDDEN.keys() - {"__init__", "_wrap_function"}:  # which ours alone calls
        theirs = inspect.signature(getattr(CfnResource, name)).parameters
        assert list(inspect.signature(getattr(CrhelperAdapter, name)).parameters) == list(theirs), name


def test_every_attribute_that_we_use_is_one_of_crhelpers() -> None:
    source = inspect.getsource(CfnResource)

    assert {name for name in READ if f"self.{name} = " in source} == READ


def test_the_words_of_an_answer_are_those_of_cloudformation() -> None:
    assert (SUCCESS, FAILED) == ("SUCCESS", "FAILED")


def test_crhelper_still_reads_the_sandbox_switch_at_construction_alone() -> None:
    source = inspect.getsource(CfnResource)

    assert source.count("AWS_SAM_LOCAL") == 1
    assert "AWS_SAM_LOCAL" in inspect.getsource(CfnResource.__init__)
