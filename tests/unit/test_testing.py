"""What `pipeline_reprocessing.testing` tells of two templates."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
from aws_cdk.assertions import Template

from pipeline_reprocessing.testing import AnyTemplate, assert_replays, assert_replays_nothing, watched

BACKFILL: dict[str, Any] = {
    "Pipeline": {"Kind": "STATE_MACHINE", "Arn": {"Ref": "Replay"}, "EndpointUrl": "https://old.example"},
    "Messages": {"LastSeconds": 3600},
    "Trigger": "a" * 64,
    "Because": {
        "Telemetry/ToCelsius": {"code": "1f0c9a2e", "environment": "77aa01bc"},
        "Telemetry/Replay": {"definitionString": "9e107d9d"},
        "Telemetry/Backfill": {"messages": "5d41402a", "pipeline": "7d793037"},
    },
    "Values": {"Unit.Ref": {"Ref": "Unit"}},
}
OTHER = "b" * 64
TO_CELSIUS = {"Telemetry/ToCelsius": {"code": "00000000", "environment": "77aa01bc"}}
WATCHED = """\
  Telemetry/Backfill
    Telemetry/Backfill: messages, pipeline
    Telemetry/Replay: definitionString
    Telemetry/ToCelsius: code, environment"""


def resource(because: dict[str, Any] | None = None, **changes: Any) -> dict[str, Any]:
    """The custom resource, with changes; properties that are None are left out."""
    told = {"Because": {**BACKFILL["Because"], **because}} if because else {}
    properties = {**deepcopy(BACKFILL), **told, **changes}
    kept = {name: value for name, value in properties.items() if value is not None}
    return {"Type": "Custom::PipelineReprocessing", "Properties": kept}


def template(**resources: dict[str, Any]) -> dict[str, Any]:
    return {"Resources": {"Unrelated": {"Type": "AWS::S3::Bucket"}, **resources}}


BEFORE = template(Backfill=resource())
CHANGED = template(Backfill=resource(TO_CELSIUS, Trigger=OTHER))


def text_of(function: Callable[..., object], *arguments: AnyTemplate, **named: str) -> str:
    """What the assertion says when it fails."""
    with pytest.raises(AssertionError) as failure:
        function(*arguments, **named)
    return str(failure.value)


@pytest.mark.parametrize(
    "changes",
    [
        {"Trigger": OTHER},
        {"Messages": {"All": True}},
        {"Pipeline": {"Kind": "STATE_MACHINE", "Arn": {"Ref": "Other"}}},
        {"Pipeline": {"Kind": "IOT_ANALYTICS", "Name": "weather"}},
        {"Values": {"Unit.Ref": "celsius"}},
    ],
)
def test_what_decides_the_data_replays(changes: dict[str, Any]) -> None:
    after = template(Backfill=resource(**changes))

    assert_replays(BEFORE, after)
    with pytest.raises(AssertionError):
        assert_replays_nothing(BEFORE, after)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"Because": {"Renamed/ToCelsius": {"code": "1f0c9a2e"}}},
        {"Because": None},
        {"Values": None},
        {"Values": {"Unit.Ref": {"Ref": "Unit"}, "Another.Ref": {"Ref": "Another"}}},
        {"Wait": {"TimeoutSeconds": 60}, "OnRollback": "REPROCESS", "OnRemoval": "LEAVE"},
        {"Pipeline": {"Kind": "STATE_MACHINE", "Arn": {"Ref": "Replay"}}},
    ],
)
def test_what_decides_no_data_replays_nothing(changes: dict[str, Any]) -> None:
    after = template(Backfill=resource(**changes), Bucket={"Type": "AWS::S3::Bucket"})

    assert_replays_nothing(BEFORE, after)
    with pytest.raises(AssertionError):
        assert_replays(BEFORE, after)


@pytest.mark.parametrize("before", [{}, template(), template(Earlier=resource())])
def test_a_new_construct_replays(before: dict[str, Any]) -> None:
    assert_replays(before, BEFORE)

    text = text_of(assert_replays_nothing, before, BEFORE)

    assert text == "a deploy replays:\n  Telemetry/Backfill\n    it is new"


def test_a_new_construct_replays_because_of_nothing_that_it_watches() -> None:
    text = text_of(assert_replays, {}, BEFORE, because="ToCelsius")

    assert text == ("a deploy replays, but not because of 'ToCelsius':\n  Telemetry/Backfill\n    it is new")


@pytest.mark.parametrize("construct", [None, "Telemetry/Backfill"])
def test_a_removed_construct_replays_nothing(construct: str | None) -> None:
    assert_replays_nothing(BEFORE, template(), construct=construct)


@pytest.mark.parametrize("because", ["Telemetry/ToCelsius", "ToCelsius"])
def test_the_reason_is_a_path_or_its_end(because: str) -> None:
    assert_replays(BEFORE, CHANGED, because=because)


@pytest.mark.parametrize("because", ["Celsius", "Telemetry", "Telemetry/Replay", "telemetry/tocelsius", ""])
def test_another_reason_is_answered_with_what_changed(because: str) -> None:
    text = text_of(assert_replays, BEFORE, CHANGED, because=because)

    assert text == (
        f"a deploy replays, but not because of '{because}':\n"
        "  Telemetry/Backfill\n"
        "    Telemetry/ToCelsius: code"
    )


def test_where_nothing_replays_it_is_told_what_is_watched() -> None:
    text = text_of(assert_replays, BEFORE, BEFORE, because="ToCelsius")

    assert text == f"a deploy replays nothing; it watches:\n{WATCHED}"


def test_each_construct_and_each_part_that_changed_is_told() -> None:
    changed = {
        "Telemetry/ToCelsius": {"code": "00000000", "handler": "11111111"},
        "Telemetry/Added": {"code": "22222222"},
    }
    because = {**BACKFILL["Because"], **changed}
    del because["Telemetry/Replay"]
    after = template(
        Backfill=resource(Because=because, Trigger=OTHER),
        Second=resource(Because={"Telemetry/Second": {"messages": "5d41402a"}}),
    )

    text = text_of(assert_replays_nothing, BEFORE, after)

    assert text == (
        "a deploy replays:\n"
        "  Telemetry/Backfill\n"
        "    Telemetry/Added: newly watched\n"
        "    Telemetry/Replay: no longer watched\n"
        "    Telemetry/ToCelsius: code, environment, handler\n"
        "  Telemetry/Second\n"
        "    it is new"
    )


@pytest.mark.parametrize(
    ("changes", "parts"),
    [
        ({"Messages": {"All": True}}, "messages"),
        ({"Pipeline": {"Kind": "STATE_MACHINE", "Arn": {"Ref": "Other"}}}, "pipeline"),
        ({"Values": {"Unit.Ref": "celsius"}}, "Values.Unit.Ref"),
        (
            {
                "Trigger": OTHER,
                "Messages": {"All": True},
                "Because": {
                    **BACKFILL["Because"],
                    "Telemetry/Backfill": {"messages": "0", "pipeline": "7d793037", "version": "1"},
                },
            },
            "messages, version",
        ),
    ],
)
def test_what_the_construct_itself_says_belongs_to_its_own_path(changes: dict[str, Any], parts: str) -> None:
    after = template(Backfill=resource(**changes))

    text = text_of(assert_replays_nothing, BEFORE, after)

    assert text == f"a deploy replays:\n  Telemetry/Backfill\n    Telemetry/Backfill: {parts}"
    assert_replays(BEFORE, after, because="Backfill")


def test_a_path_alone_is_no_reason_beside_another_change() -> None:
    renamed = {"Renamed/Backfill": {"messages": "5d41402a", "pipeline": "7d793037"}}
    after = template(Backfill=resource(Because=renamed, Messages={"All": True}))

    text = text_of(assert_replays_nothing, BEFORE, after)

    assert text == "a deploy replays:\n  Renamed/Backfill\n    Renamed/Backfill: messages"


def test_a_trigger_that_no_watched_thing_explains_is_told_so() -> None:
    after = template(Backfill=resource(Trigger=OTHER))

    text = text_of(assert_replays_nothing, BEFORE, after)

    assert text.endswith("    the trigger changed, and no watched thing tells why")


@pytest.mark.parametrize(
    ("before", "after", "which"),
    [(None, BACKFILL["Because"], "before"), (BACKFILL["Because"], None, "after"), (None, None, "before")],
)
def test_a_template_without_because_cannot_tell_why(before: object, after: object, which: str) -> None:
    old = template(Backfill=resource(Because=before))
    new = template(Backfill=resource(Because=after, Trigger=OTHER))
    assert_replays(old, new)

    text = text_of(assert_replays, old, new, because="ToCelsius")

    assert text.endswith(f"    the trigger changed, and '{which}' has no 'Because' that tells why")


def test_a_template_without_because_does_not_name_what_is_watched() -> None:
    old = template(Backfill=resource(Because=None))

    assert watched(old) == {}
    assert text_of(assert_replays, old, old) == (
        "a deploy replays nothing; it watches:\n  Backfill\n    the template has no 'Because' that names it"
    )


SECOND = resource(Because={"Other/Second": {"messages": "5d41402a"}, "Telemetry/ToCelsius": {"layers": "0"}})
TWO = template(Backfill=resource(), SecondResource=SECOND)


@pytest.mark.parametrize("construct", ["Telemetry/Backfill", "Backfill"])
def test_one_construct_is_chosen_by_path_or_the_end_of_it(construct: str) -> None:
    after = deepcopy(TWO)
    after["Resources"]["Backfill"]["Properties"]["Trigger"] = OTHER

    assert_replays(TWO, after, construct=construct)
    assert_replays_nothing(TWO, after, construct="Second")


def test_one_construct_is_chosen_by_logical_id() -> None:
    assert watched(TWO, construct="SecondResource") == {
        "Other/Second": ["messages"],
        "Telemetry/ToCelsius": ["layers"],
    }


def test_a_construct_is_the_same_under_another_path() -> None:
    renamed = template(Backfill=resource(Because={"Renamed/Backfill": {"messages": "5d41402a"}}))

    assert_replays_nothing(BEFORE, renamed, construct="Renamed/Backfill")


@pytest.mark.parametrize("construct", ["Telemetry/Typo", "fill", ""])
@pytest.mark.parametrize("function", [assert_replays, assert_replays_nothing])
def test_a_construct_that_is_not_there_is_an_error(function: Callable[..., None], construct: str) -> None:
    message = (
        f"the templates must have a PipelineReprocessing named '{construct}'; "
        "there is 'Other/Second', 'Telemetry/Backfill'"
    )

    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        function(TWO, TWO, construct=construct)


def test_templates_without_any_construct_are_an_error() -> None:
    with pytest.raises(ValueError, match=r"^the templates must have a PipelineReprocessing; there is none$"):
        assert_replays_nothing({}, template())


def test_what_is_watched_is_listed_with_the_parts_that_count() -> None:
    assert watched(TWO) == {
        "Other/Second": ["messages"],
        "Telemetry/Backfill": ["messages", "pipeline"],
        "Telemetry/Replay": ["definitionString"],
        "Telemetry/ToCelsius": ["code", "environment", "layers"],
    }


@pytest.mark.parametrize(
    ("metadata", "name"),
    [
        ({"aws:cdk:path": "Telemetry/Backfill/Resource/Default"}, "Telemetry/Backfill"),
        ({}, "BackfillABC"),
    ],
)
def test_without_because_a_construct_is_known_by_its_metadata_or_id(
    metadata: dict[str, str], name: str
) -> None:
    after = template(BackfillABC={**resource(Because=None), "Metadata": metadata})

    assert text_of(assert_replays_nothing, {}, after) == f"a deploy replays:\n  {name}\n    it is new"


def test_where_two_paths_have_a_selection_the_metadata_tell_which_is_its_own() -> None:
    because = {"Telemetry/First": {"messages": "0"}, "Telemetry/Second": {"messages": "0"}}
    second = {"Metadata": {"aws:cdk:path": "Telemetry/Second/Resource/Default"}}

    text = text_of(assert_replays_nothing, {}, template(Id={**resource(Because=because), **second}))

    assert text == "a deploy replays:\n  Telemetry/Second\n    it is new"


def test_a_template_may_be_a_template_a_path_or_a_dict(tmp_path: Path) -> None:
    file = tmp_path / "Telemetry.template.json"
    file.write_text(json.dumps(BEFORE), encoding="utf-8")

    for before in (BEFORE, Template.from_json(BEFORE), file, str(file)):
        assert_replays_nothing(before, BEFORE)
        assert_replays(before, Template.from_json(CHANGED), because="ToCelsius")


@pytest.mark.parametrize(
    ("wrong", "shown"),
    [(None, "NoneType"), ([], "list"), ({"files": {}}, "dict")],
)
def test_what_is_no_template_is_an_error(wrong: Any, shown: str) -> None:
    with pytest.raises(ValueError, match=r"^'before' must be a Template") as failure:
        assert_replays(wrong, BEFORE)

    assert str(failure.value) == (
        "'before' must be a Template, a dict with 'Resources' or the path of such a file, "
        f"got {shown}; use {{}} for a stack that is not deployed yet"
    )


def test_another_file_of_the_cloud_assembly_is_an_error(tmp_path: Path) -> None:
    manifest = tmp_path / "manifest.json"
    manifest.write_text('{"artifacts": {}}', encoding="utf-8")

    with pytest.raises(ValueError, match=rf"^'after' must be .*, got '{re.escape(str(manifest))}'"):
        assert_replays(BEFORE, manifest)
