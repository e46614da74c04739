"""The numbers of a run: read from any output, told as attributes and as a sentence."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from pipeline_reprocessing_handler.pipelines import Counts

SUMMARY = {
    "status": "SUCCEEDED",
    "objects": 365,
    "objectsDone": 340,
    "objectsGone": 6,
    "objectsChanged": 7,
    "objectsFailed": 1,
    "objectsSuperseded": 2,
    "objectsNotReplayed": 3,
    "objectsSkipped": 4,
    "messagesIn": 8759,
    "messagesOut": 8751,
    "messagesDropped": 8,
    "messagesFailed": 5,
    "durationSeconds": 21.4,
    "failures": [],
}
ATTRIBUTES = {
    "Objects": "365",
    "ObjectsDone": "340",
    "ObjectsGone": "6",
    "ObjectsChanged": "7",
    "ObjectsFailed": "1",
    "ObjectsNotReplayed": "3",
    "ObjectsSkipped": "4",
    "MessagesIn": "8759",
    "MessagesOut": "8751",
    "MessagesDropped": "8",
    "MessagesFailed": "5",
}

documents = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(list(SUMMARY)) | st.text(), inner)
    ),
    max_leaves=20,
)


def test_a_summary_with_every_number_gives_every_attribute() -> None:
    assert Counts.parse(json.dumps(SUMMARY)).attributes == ATTRIBUTES


def test_a_state_machine_gives_the_numbers_that_its_output_has() -> None:
    counts = Counts.parse('{"messagesIn": 7, "rows": 8}')

    assert counts.attributes == dict.fromkeys(ATTRIBUTES, "") | {"MessagesIn": "7"}


@pytest.mark.parametrize(
    "output",
    [
        None,
        {"objects": 1},
        "",
        "objects",
        '{"objects": 1',
        "[1]",
        '"objects"',
        "null",
        "7",
        pytest.param("[" * 100_000, id="nested too deeply"),
        pytest.param('{"objects": ' + "9" * 5_000 + "}", id="too many digits"),
    ],
)
def test_an_output_of_another_shape_gives_no_number(output: object) -> None:
    assert Counts.parse(output) == Counts()


@pytest.mark.parametrize(
    "number", ["-1", "1.0", "1e2", "NaN", "true", '"365"', "null", "[1]", "{}", str(2**63)]
)
def test_what_is_no_count_is_not_known(number: str) -> None:
    assert Counts.parse(f'{{"objects": {number}, "messagesIn": 1}}') == Counts(messages_in=1)


@pytest.mark.parametrize("number", [0, 2**63 - 1])
def test_a_count_has_bounds(number: int) -> None:
    assert Counts.parse(f'{{"objects": {number}}}').attributes["Objects"] == str(number)


@given(documents)
@example(dict.fromkeys(SUMMARY, 2**63 - 1))
def test_attributes_are_short_texts_and_always_there(document: Any) -> None:
    attributes = Counts.parse(json.dumps(document)).attributes

    assert attributes.keys() == ATTRIBUTES.keys()
    assert all(value == "" or value.isdecimal() for value in attributes.values())
    assert len(json.dumps(attributes)) <= 500


@pytest.mark.parametrize(
    ("counts", "sentence"),
    [
        (Counts(), ""),
        (Counts(objects=2, objects_failed=0, messages_in=7), "2 objects, 0 objects failed, 7 messages in"),
    ],
)
def test_only_known_numbers_are_told(counts: Counts, sentence: str) -> None:
    assert str(counts) == sentence


@pytest.mark.parametrize(
    ("counts", "why"),
    [
        (Counts(), ""),
        (Counts(objects=2), ""),
        (Counts(objects=2, messages_in=1), ""),
        (Counts(objects=0, messages_in=0), "the selection matched no object"),
        (Counts(objects=2, messages_in=0), "no message was read"),
        (Counts(messages_in=0), "no message was read"),
    ],
)
def test_a_run_that_replayed_nothing_says_why(counts: Counts, why: str) -> None:
    assert counts.why_nothing == why
