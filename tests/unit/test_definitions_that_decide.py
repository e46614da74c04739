"""The Amazon States Language is read by its grammar: what decides the data, and what a definition calls."""

import copy
import json
import random
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from pipeline_reprocessing.trigger.definitions import Call, called, deciding

SAME, ANOTHER = True, False
ABSENT = object()

DEFINITION: dict[str, Any] = {
    "StartAt": "Read",
    "States": {
        "Read": {
            "Type": "Task",
            "Resource": "arn:aws:states:::lambda:invoke",
            "Parameters": {"FunctionName": "${Read.Arn}", "Payload": {"n": 1}},
            "ResultSelector": {"Value.$": "$.Payload"},
            "Retry": [{"ErrorEquals": ["States.ALL"], "MaxAttempts": 2}],
            "Catch": [
                {"ErrorEquals": ["Lambda.Unknown"], "Next": "Lost", "ResultPath": "$.error"},
                {"ErrorEquals": ["States.ALL"], "Next": "Sort", "Assign": {"Comment": "caught"}},
            ],
            "Next": "Comment",
        },
        "Comment": {"Type": "Pass", "Result": {"TimeoutSeconds": 5}, "Next": "Sort"},
        "Sort": {
            "Type": "Choice",
            "Choices": [
                {"Variable": "$.a", "IsPresent": True, "Next": "Each"},
                {"And": [{"Not": {"Variable": "$.b", "IsNull": True}}], "Next": "Both", "Assign": {"x": 1}},
                {"Or": [{"Variable": "$.c", "IsNull": True}], "Next": "Both"},
            ],
            "Default": "Pause",
        },
        "Each": {
            "Type": "Map",
            "ItemReader": {
                "Resource": "arn:aws:states:::s3:getObject",
                "Parameters": {"Bucket": "raw", "Label": "x"},
                "ReaderConfig": {"InputType": "CSV", "MaxItems": 9},
            },
            "ItemSelector": {"MaxConcurrency": 3},
            "ItemBatcher": {"MaxItemsPerBatch": 10},
            "ItemProcessor": {
                "ProcessorConfig": {"Mode": "DISTRIBUTED", "ExecutionType": "STANDARD"},
                "StartAt": "One",
                "States": {"One": {"Type": "Pass", "Parameters": {"Comment": "one"}, "End": True}},
            },
            "ResultWriter": {"Resource": "arn:aws:states:::s3:putObject", "Parameters": {"Bucket": "clean"}},
            "Catch": [{"ErrorEquals": ["States.ALL"], "Next": "Lost"}],
            "Next": "Both",
        },
        "Old": {
            "Type": "Map",
            "Iterator": {"StartAt": "Two", "States": {"Two": {"Type": "Succeed"}}},
            "End": True,
        },
        "Both": {
            "Type": "Parallel",
            "Branches": [{"StartAt": "Left", "States": {"Left": {"Type": "Succeed"}}}],
            "Catch": [{"ErrorEquals": ["States.ALL"], "Next": "Lost"}],
            "Next": "Done",
        },
        "Done": {"Type": "Succeed", "Output": {"Retry": "{% $x %}"}},
        "Pause": {"Type": "Wait", "Seconds": 5, "Next": "Done"},
        "Lost": {"Type": "Fail", "Error": "Lost", "Cause": "lost"},
        "New": {"Type": "Loop", "ItemProcessor": {"States": {}}, "MaxConcurrency": 1},
    },
}

READ, EACH = "States.Read", "States.Each"
INNER, BRANCH = f"{EACH}.ItemProcessor", "States.Both.Branches.0"

# What is set, where; or removed.
EDITS: dict[str, tuple[str, Any, bool]] = {
    "the machine's comment": ("Comment", "note", SAME),
    "the machine's time-out": ("TimeoutSeconds", 60, SAME),
    "the machine's language version": ("Version", "1.0", SAME),
    "a processor's comment": (f"{INNER}.Comment", "note", SAME),
    "a processor's time-out": (f"{INNER}.TimeoutSeconds", 60, SAME),
    "a branch's comment": (f"{BRANCH}.Comment", "note", SAME),
    "a task's comment": (f"{READ}.Comment", "note", SAME),
    "a state's comment in a processor": (f"{INNER}.States.One.Comment", "note", SAME),
    "a state's comment in an old iterator": ("States.Old.Iterator.States.Two.Comment", "note", SAME),
    "a state's comment in a branch": (f"{BRANCH}.States.Left.Comment", "note", SAME),
    "a rule's comment": ("States.Sort.Choices.0.Comment", "note", SAME),
    "a comment of a rule in a rule": ("States.Sort.Choices.1.And.0.Comment", "note", SAME),
    "a comment of a negated rule": ("States.Sort.Choices.1.And.0.Not.Comment", "note", SAME),
    "a comment of an alternative rule": ("States.Sort.Choices.2.Or.0.Comment", "note", SAME),
    "a retrier's comment": (f"{READ}.Retry.0.Comment", "note", SAME),
    "a task's catcher's comment": (f"{READ}.Catch.1.Comment", "note", SAME),
    "a map's catcher's comment": (f"{EACH}.Catch.0.Comment", "note", SAME),
    "a parallel state's catcher's comment": ("States.Both.Catch.0.Comment", "note", SAME),
    "a task's time-out": (f"{READ}.TimeoutSeconds", 60, SAME),
    "a task's time-out from its input": (f"{READ}.TimeoutSecondsPath", "$.t", SAME),
    "a task's heartbeat": (f"{READ}.HeartbeatSeconds", 60, SAME),
    "a task's heartbeat from its input": (f"{READ}.HeartbeatSecondsPath", "$.t", SAME),
    "other retries": (f"{READ}.Retry.0.MaxAttempts", 3, SAME),
    "no retries": (f"{READ}.Retry", ABSENT, SAME),
    "a map's retries": (f"{EACH}.Retry", [{"ErrorEquals": ["States.ALL"]}], SAME),
    "a map's concurrency": (f"{EACH}.MaxConcurrency", 5, SAME),
    "a map's concurrency from its input": (f"{EACH}.MaxConcurrencyPath", "$.n", SAME),
    "a map's label": (f"{EACH}.Label", "each", SAME),
    "a map's tolerated count": (f"{EACH}.ToleratedFailureCount", 1, SAME),
    "a map's tolerated count from its input": (f"{EACH}.ToleratedFailureCountPath", "$.n", SAME),
    "a map's tolerated percentage": (f"{EACH}.ToleratedFailurePercentage", 1, SAME),
    "a map's tolerated percentage from its input": (f"{EACH}.ToleratedFailurePercentagePath", "$.n", SAME),
    "an unknown state's comment": ("States.New.Comment", "note", SAME),
    "another query language": ("QueryLanguage", "JSONata", ANOTHER),
    "another start": ("StartAt", "Comment", ANOTHER),
    "a state that is named like a setting": ("States.Comment", ABSENT, ANOTHER),
    "another resource": (f"{READ}.Resource", "arn:aws:states:::lambda:invoke.waitForTaskToken", ANOTHER),
    "what stands for another function": (f"{READ}.Parameters.FunctionName", "${Other.Arn}", ANOTHER),
    "a comment in parameters": (f"{READ}.Parameters.Comment", "data", ANOTHER),
    "a comment in an inner state's parameters": (f"{INNER}.States.One.Parameters.Comment", "two", ANOTHER),
    "a time-out in a payload": (f"{READ}.Parameters.Payload.TimeoutSeconds", 5, ANOTHER),
    "a number with a point": (f"{READ}.Parameters.Payload.n", 1.0, ANOTHER),
    "a truth in place of a number": (f"{READ}.Parameters.Payload.n", True, ANOTHER),
    "states in parameters": (f"{READ}.Parameters.States", {"A": {"Comment": "data"}}, ANOTHER),
    "arguments": (f"{READ}.Arguments", {"Retry": 1}, ANOTHER),
    "a selector": (f"{READ}.ResultSelector.Comment", "data", ANOTHER),
    "the role's account": (f"{READ}.Credentials", {"RoleArn": "${Role.Arn}"}, ANOTHER),
    "variables": (f"{READ}.Assign", {"Label": 1}, ANOTHER),
    "what is caught": (f"{READ}.Catch.0.ErrorEquals.0", "States.Timeout", ANOTHER),
    "where a catch leads": (f"{READ}.Catch.0.Next", "Sort", ANOTHER),
    "where a catch puts the error": (f"{READ}.Catch.0.ResultPath", "$.other", ANOTHER),
    "a catch's comment in a variable": (f"{READ}.Catch.1.Assign.Comment", "data", ANOTHER),
    "a catch's output": (f"{READ}.Catch.1.Output", {"Comment": "data"}, ANOTHER),
    "no catch": ("States.Both.Catch", ABSENT, ANOTHER),
    "the order of catchers": (f"{READ}.Catch", DEFINITION["States"]["Read"]["Catch"][::-1], ANOTHER),
    "a result": ("States.Comment.Result.TimeoutSeconds", 6, ANOTHER),
    "a rule's condition": ("States.Sort.Choices.0.IsPresent", False, ANOTHER),
    "a rule's variable": ("States.Sort.Choices.1.Assign.Comment", "data", ANOTHER),
    "a rule in a rule": ("States.Sort.Choices.1.And.0.Not.IsNull", False, ANOTHER),
    "the order of rules": ("States.Sort.Choices", DEFINITION["States"]["Sort"]["Choices"][::-1], ANOTHER),
    "another default": ("States.Sort.Default", "Done", ANOTHER),
    "a map's selector": (f"{EACH}.ItemSelector.MaxConcurrency", 4, ANOTHER),
    "a map's reader's parameters": (f"{EACH}.ItemReader.Parameters.Label", "y", ANOTHER),
    "how much a map reads": (f"{EACH}.ItemReader.ReaderConfig.MaxItems", 8, ANOTHER),
    "a map's batches": (f"{EACH}.ItemBatcher.MaxItemsPerBatch", 11, ANOTHER),
    "a map's writer": (f"{EACH}.ResultWriter.Parameters.Bucket", "other", ANOTHER),
    "how a map runs": (f"{INNER}.ProcessorConfig.ExecutionType", "EXPRESS", ANOTHER),
    "another branch": ("States.Both.Branches.0.States.Left.Type", "Fail", ANOTHER),
    "an output": ("States.Done.Output.Retry", "{% $y %}", ANOTHER),
    "how long a state waits": ("States.Pause.Seconds", 6, ANOTHER),
    "a cause": ("States.Lost.Cause", "gone", ANOTHER),
    "a map's word in another state": (f"{READ}.MaxConcurrency", 1, ANOTHER),
    "a map's word in an unknown state": ("States.New.MaxConcurrency", 2, ANOTHER),
    "a comment in an unknown state's field": ("States.New.ItemProcessor.Comment", "data", ANOTHER),
    "a default that is written out": (f"{READ}.OutputPath", "$", ANOTHER),
    "a field that no grammar knows": (f"{READ}.Novelty", 1, ANOTHER),
}


def edited(path: str, value: object) -> dict[str, Any]:
    definition = copy.deepcopy(DEFINITION)
    place: Any = definition
    *steps, last = (int(step) if step.isdigit() else step for step in path.split("."))
    for step in steps:
        place = place[step]
    if value is ABSENT:
        del place[last]
    else:
        place[last] = value
    return definition


def text(value: object) -> str:
    """Tells 1, 1.0 and True from each other, as equality does not; and the order of keys."""
    return json.dumps(value)


@pytest.mark.parametrize("reason", EDITS)
def test_an_edit_counts_where_it_decides_data(reason: str) -> None:
    path, value, same = EDITS[reason]

    before, after = DEFINITION, edited(path, value)

    assert text(before) != text(after)
    assert (text(deciding(before)) == text(deciding(after))) is same


@pytest.mark.parametrize(
    "layout",
    [
        json.dumps(DEFINITION),
        json.dumps(DEFINITION, indent=4),
        json.dumps(DEFINITION, sort_keys=True, separators=(",", ":")),
        f"\r\n\t{json.dumps(DEFINITION)} \n",
        json.dumps(DEFINITION).replace("Value", "\\u0056alue"),
        DEFINITION,
    ],
    ids=["compact", "indented", "sorted", "blanks around", "escapes", "parsed"],
)
def test_the_layout_of_a_definition_is_gone(layout: object) -> None:
    assert text(deciding(layout)) == text(deciding(DEFINITION))


def test_what_is_left_is_what_decides() -> None:
    given_text = """{"Comment": "c", "StartAt": "A", "Version": "1.0", "TimeoutSeconds": 1, "States": {
        "A": {"Type": "Task", "Retry": [], "Resource": "${F.Arn}", "End": true, "Comment": "c"}
    }}"""

    left = deciding(given_text)

    assert text(left) == (
        '{"StartAt": "A", "States": {"A": {"End": true, "Resource": "${F.Arn}", "Type": "Task"}}}'
    )


def test_a_number_may_be_a_reference() -> None:
    one = '{"States": {"A": {"Type": "Map", "MaxConcurrency":${N.Ref}}}}'
    other = '{"States": {"A": {"Type": "Map", "MaxConcurrency":${Other.Ref}}}}'

    assert text(deciding(one)) == text(deciding(other)) == '{"States": {"A": {"Type": "Map"}}}'


def test_a_reference_in_place_of_a_number_is_no_text() -> None:
    number, other, string = (
        f'{{"States": {{"A": {{"Type": "Pass", "Result": {value}}}}}}}'
        for value in ("${N.Ref}", "${Other.Ref}", '"${N.Ref}"')
    )

    assert len({text(deciding(each)) for each in (number, other, string)}) == 3


def passing(result: str) -> str:
    return f'{{ "States": {{"A": {{"Type": "Pass", "Result": {result}}}}} }}'


UNCLEAR: dict[str, Any] = {
    "nothing": "",
    "YAML": "StartAt: A\nStates:\n  A:\n    Type: Pass\n",
    "a reference": "${Definition.Ref}",
    "a list": "[ ]",
    "no states": '{ "StartAt": "A" }',
    "states in a list": '{ "States": [] }',
    "no number": passing("NaN"),
    "no finite number": passing("-Infinity"),
    "a number too large for a float": passing("1e400"),
    "a number too small for any reader": passing("1e-99999999999999999999"),
    "a number too fine for a float": passing("0.10000000000000000001"),
    "a number too long for Python": passing("1" * 5000),
    "a key twice": passing('1, "Type": "Fail"'),
    "a text too deep": passing("[" * 100_000 + "1" + "]" * 100_000),
    "an unfinished text": '{ "States": {}',
    "an unfinished string": '{ "States": {"' + '\\"${' * 100_000,
    "a byte order mark": '\ufeff{ "States": {} }',
    "None": None,
    "a number": 1,
    "bytes": b'{ "States": {} }',
    "a dict without states": {"StartAt": "A"},
    "a dict with no number": {"States": {"A": {"Type": "Pass", "Result": float("nan")}}},
    "a dict with a number too long for Python": {"States": {"A": {"Type": "Pass", "Result": 10**5000}}},
    "a dict with what is no JSON": {"States": {"A": {"Type": "Pass", "Result": object()}}},
    "a dict with a key twice in JSON": {"States": {}, 1: "one", "1": "other"},
}


@pytest.mark.parametrize("reason", UNCLEAR)
def test_what_is_no_clear_definition_comes_back_as_it_is(reason: str) -> None:
    assert deciding(UNCLEAR[reason]) is UNCLEAR[reason]
    assert called(UNCLEAR[reason]) == []


def nested(depth: int) -> dict[str, Any]:
    machine: dict[str, Any] = {"StartAt": "A", "States": {"A": {"Type": "Succeed"}}}
    for _ in range(depth):
        machine = {"StartAt": "A", "States": {"A": {"Type": "Map", "ItemProcessor": machine}}}
    return machine


@pytest.mark.parametrize("depth", [10, 100, *range(200, 360, 10), 10_000])
def test_no_depth_raises(depth: int) -> None:
    machine = nested(depth)

    assert deciding(machine) == machine
    assert called(machine) == []


@pytest.mark.parametrize(
    "state",
    [
        1,
        "${State}",
        [{"Comment": "data"}],
        {"Type": ["Map"], "ItemProcessor": {"Comment": "data", "States": {}}},
        {"Type": "Map", "ItemProcessor": "${Processor}"},
        {"Type": "Map", "ItemProcessor": {"Comment": "data", "States": []}},
        {"Type": "Parallel", "Branches": [1, None]},
        {"Type": "Choice", "Choices": ["${Rule}", None]},
        {"Type": "Task", "Catch": "${Catch}"},
    ],
    ids=repr,
)
def test_what_no_grammar_allows_stays(state: object) -> None:
    assert deciding({"States": {"A": state}}) == {"States": {"A": state}}


def test_a_circle_comes_back_as_it_is() -> None:
    circle: dict[str, Any] = {"States": {"A": {"Type": "Map"}}}
    circle["States"]["A"]["ItemProcessor"] = circle

    assert deciding(circle) is circle
    assert called(circle) == []


def test_half_a_character_stays_half_a_character() -> None:
    definition = {"States": {"\ud800": {"Type": "Pass", "Result": "\udfff"}}}

    assert deciding(definition) == deciding(json.dumps(definition)) == definition
    assert deciding(json.dumps(definition, ensure_ascii=False)) == definition


words = st.sampled_from(
    [
        *(
            "Type",
            "States",
            "Comment",
            "Retry",
            "Catch",
            "Choices",
            "And",
            "Not",
            "Branches",
            "ItemProcessor",
        ),
        *("Resource", "Parameters", "Arguments", "FunctionName", "FunctionName.$", "Qualifier", "Iterator"),
    ]
)
texts = words | st.sampled_from(
    ["Task", "Map", "Parallel", "Choice", "arn:aws:states:::lambda:invoke", "{% $f %}", "${F.Arn}", "$.f"]
)
leaves = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=5)
    | texts
)
values = st.recursive(
    leaves | st.just(float("nan")) | st.just(float("inf")),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(words | st.text(max_size=3), inner, max_size=4)
    ),
    max_leaves=25,
)
data = st.recursive(
    leaves,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(words | st.text(max_size=3), inner, max_size=3)
    ),
    max_leaves=6,
)


@st.composite
def states(draw: st.DrawFn, inner: st.SearchStrategy[dict[str, Any]]) -> dict[str, Any]:
    kind = draw(st.sampled_from(["Task", "Pass", "Map", "Parallel", "Choice", "Loop"]))
    state: dict[str, Any] = {"Type": kind, "Parameters": {"data": draw(data)}, "Next": draw(words)}
    if kind == "Map":
        state[draw(st.sampled_from(["ItemProcessor", "Iterator"]))] = draw(inner)
    if kind == "Parallel":
        state["Branches"] = draw(st.lists(inner, max_size=2))
    if kind == "Choice":
        state["Choices"] = [{"Not": {"Variable": "$.a", "IsNull": True}, "Next": draw(words)}]
    if kind == "Task":
        state["Catch"] = [{"ErrorEquals": ["States.ALL"], "Assign": draw(data)}]
    return state


def machines_of(inner: st.SearchStrategy[dict[str, Any]]) -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries(
        {"StartAt": words, "States": st.dictionaries(words, states(inner), min_size=1, max_size=3)}
    )


machines = st.recursive(
    st.just({"StartAt": "A", "States": {"A": {"Type": "Pass", "Parameters": {"data": 1}}}}),
    machines_of,
    max_leaves=5,
)


def all_states(machine: Any) -> list[dict[str, Any]]:
    found = []
    for state in machine["States"].values():
        found.append(state)
        inner = [state[key] for key in ("ItemProcessor", "Iterator") if key in state]
        for each in (*inner, *state.get("Branches", ())):
            found += all_states(each)
    return found


def shuffled(value: Any, order: random.Random) -> Any:
    if isinstance(value, dict):
        return {key: shuffled(value[key], order) for key in order.sample(list(value), len(value))}
    return [shuffled(item, order) for item in value] if isinstance(value, list) else value


def leaf_paths(value: Any) -> list[tuple[Any, ...]]:
    if not isinstance(value, dict | list) or not value:
        return [()]
    items = value.items() if isinstance(value, dict) else enumerate(value)
    return [(key, *path) for key, item in items for path in leaf_paths(item)]


@given(values)
@example({"States": {"A": {"Type": ["Map"], "Resource": []}}})
@example({"States": {"A": {"Type": "Task", "Resource": "arn:aws:states:::lambda:invoke", "Parameters": [1]}}})
def test_no_json_value_raises(value: Any) -> None:
    for machine in (value, {"States": value}, {"States": {"A": value}}):
        for definition in (machine, json.dumps(machine)):
            left = deciding(definition)

            assert left is definition or text(deciding(left)) == text(left)
            assert all(call.name for call in called(definition))


@given(st.text())
def test_no_text_raises(given_text: str) -> None:
    assert deciding(given_text) is given_text
    assert called(given_text) == []


@given(machines, st.randoms(use_true_random=False), st.sampled_from([None, 0, 3]), st.booleans())
def test_order_of_keys_and_indentation_never_count(
    machine: dict[str, Any], order: random.Random, indent: int | None, ascii_only: bool
) -> None:
    layout = json.dumps(shuffled(machine, order), indent=indent, ensure_ascii=ascii_only)

    assert text(deciding(layout)) == text(deciding(machine))


@given(
    machines, st.sampled_from(["Comment", "Retry", "TimeoutSeconds", "HeartbeatSecondsPath"]), data, st.data()
)
def test_a_setting_never_counts_in_whichever_state(
    machine: dict[str, Any], setting: str, value: object, choice: st.DataObject
) -> None:
    before = text(deciding(machine))
    other = copy.deepcopy(machine)

    choice.draw(st.sampled_from(all_states(other)))[setting] = value

    assert text(deciding(other)) == before


@given(machines, leaves, st.data())
def test_each_leaf_of_parameters_always_counts(
    machine: dict[str, Any], leaf: object, choice: st.DataObject
) -> None:
    other = copy.deepcopy(machine)
    place: Any = choice.draw(st.sampled_from(all_states(other)))["Parameters"]
    *steps, last = choice.draw(st.sampled_from(leaf_paths(place)))
    for step in steps:
        place = place[step]

    changed = text(place[last]) != text(leaf)
    place[last] = leaf

    assert (text(deciding(other)) != text(deciding(machine))) is changed


def task(resource: str, **fields: object) -> dict[str, Any]:
    return {"StartAt": "Run", "States": {"Run": {"Type": "Task", "Resource": resource, **fields}}}


ENRICH = "arn:aws:lambda:eu-west-1:111122223333:function:enrich"
IN_PARTS = "arn:${AWS::Partition}:lambda:${AWS::Region}:${AWS::AccountId}:function:enrich"


@pytest.mark.parametrize(
    ("action", "what", "argument"),
    [
        ("lambda:invoke", "function", "FunctionName"),
        ("lambda:invoke.waitForTaskToken", "function", "FunctionName"),
        ("aws-sdk:lambda:invoke", "function", "FunctionName"),
        ("aws-sdk:lambda:invokeAsync", "function", "FunctionName"),
        ("states:startExecution", "state machine", "StateMachineArn"),
        ("states:startExecution.sync", "state machine", "StateMachineArn"),
        ("states:startExecution.sync:2", "state machine", "StateMachineArn"),
        ("states:startExecution.waitForTaskToken", "state machine", "StateMachineArn"),
        ("aws-sdk:sfn:startExecution", "state machine", "StateMachineArn"),
        ("aws-sdk:sfn:startSyncExecution", "state machine", "StateMachineArn"),
        ("glue:startJobRun", "Glue job", "JobName"),
        ("glue:startJobRun.sync", "Glue job", "JobName"),
        ("aws-sdk:glue:startJobRun", "Glue job", "JobName"),
        ("aws-sdk:glue:startWorkflowRun", "Glue workflow", "Name"),
        ("databrew:startJobRun.sync", "DataBrew job", "Name"),
        ("batch:submitJob.sync", "Batch job definition", "JobDefinition"),
        ("aws-sdk:batch:submitJob", "Batch job definition", "JobDefinition"),
        ("ecs:runTask.sync", "ECS task definition", "TaskDefinition"),
        ("ecs:runTask.waitForTaskToken", "ECS task definition", "TaskDefinition"),
        ("aws-sdk:ecs:startTask", "ECS task definition", "TaskDefinition"),
        ("codebuild:startBuild.sync", "CodeBuild project", "ProjectName"),
        ("codebuild:startBuildBatch.sync", "CodeBuild project", "ProjectName"),
        ("aws-sdk:athena:getNamedQuery", "Athena named query", "NamedQueryId"),
        ("sagemaker:createTransformJob.sync", "SageMaker model", "ModelName"),
        ("aws-sdk:sagemaker:startPipelineExecution", "SageMaker pipeline", "PipelineName"),
        ("aws-sdk:sagemakerruntime:invokeEndpoint", "SageMaker endpoint", "EndpointName"),
        ("aws-sdk:sagemakerruntime:invokeEndpointAsync", "SageMaker endpoint", "EndpointName"),
        ("aws-sdk:ssm:sendCommand", "SSM document", "DocumentName"),
        ("aws-sdk:ssm:startAutomationExecution.waitForTaskToken", "SSM document", "DocumentName"),
        ("apigateway:invoke", "API", "ApiEndpoint"),
    ],
)
def test_an_integration_calls_what_its_argument_names(action: str, what: str, argument: str) -> None:
    definition = task(f"arn:aws:states:::{action}", Parameters={"Other": "data", argument: "nightly"})

    assert called(definition) == called(json.dumps(definition)) == [Call("Run", what, "nightly")]


@pytest.mark.parametrize("partition", ["aws", "aws-us-gov", "${AWS::Partition}"])
@pytest.mark.parametrize(
    ("field", "argument", "name"),
    [
        ("Parameters", "JobName", "nightly"),
        ("Parameters", "JobName", "${Nightly.Ref}"),
        ("Parameters", "JobName.$", "$.name"),
        ("Parameters", "JobName.$", "States.Format('{}', $.name)"),
        ("Arguments", "JobName", "nightly"),
        ("Arguments", "JobName", "{% $states.input.name %}"),
    ],
)
def test_a_name_stands_as_the_definition_has_it(partition: str, field: str, argument: str, name: str) -> None:
    definition = task(f"arn:{partition}:states:::glue:startJobRun.sync", **{field: {argument: name}})

    assert called(definition) == [Call("Run", "Glue job", name)]


@pytest.mark.parametrize(
    ("resource", "what"),
    [
        (ENRICH, "function"),
        (f"{ENRICH}:3", "function"),
        (IN_PARTS, "function"),
        ("${Enrich.Arn}", "function"),
        ("${Enrich.Arn}:live", "function"),
        (f"${{{'0' * 64}}}", "function"),
        ("arn:aws:states:eu-west-1:111122223333:activity:label", "activity"),
        ("arn:${AWS::Partition}:states:${AWS::Region}:${AWS::AccountId}:activity:label", "activity"),
    ],
)
def test_a_task_may_call_its_resource_itself(resource: str, what: str) -> None:
    assert called(task(resource, Parameters={"FunctionName": "data"})) == [Call("Run", what, resource)]


@pytest.mark.parametrize(
    ("arguments", "name"),
    [
        ({"FunctionName": "enrich", "Qualifier": "3"}, "enrich:3"),
        ({"FunctionName": "function", "Qualifier": "3"}, "function:3"),
        ({"FunctionName": ENRICH, "Qualifier": "live"}, f"{ENRICH}:live"),
        ({"FunctionName": IN_PARTS, "Qualifier": "live"}, f"{IN_PARTS}:live"),
        (
            {"FunctionName": "111122223333:function:enrich", "Qualifier": "3"},
            "111122223333:function:enrich:3",
        ),
        (
            {"FunctionName": "${Enrich.Arn}", "Qualifier": "${Version.Version}"},
            "${Enrich.Arn}:${Version.Version}",
        ),
        ({"FunctionName": "enrich", "Qualifier.$": "$.version"}, "enrich:$.version"),
        ({"FunctionName": "enrich", "Qualifier": "{% $version %}"}, "enrich:{% $version %}"),
        ({"FunctionName": "enrich:2", "Qualifier": "3"}, "enrich:2"),
        ({"FunctionName": "function:2", "Qualifier": "3"}, "function:2"),
        ({"FunctionName": f"{ENRICH}:2", "Qualifier": "3"}, f"{ENRICH}:2"),
        ({"FunctionName": "${Enrich.Arn}:2", "Qualifier": "3"}, "${Enrich.Arn}:2"),
        # A version of a function that only the run knows tells nothing.
        ({"FunctionName.$": "$.fn", "Qualifier": "3"}, "$.fn"),
        ({"FunctionName": "{% $fn %}", "Qualifier": "3"}, "{% $fn %}"),
    ],
)
def test_a_function_has_its_qualifier(arguments: Mapping[str, str], name: str) -> None:
    for action in ("lambda:invoke", "aws-sdk:lambda:invoke"):
        definition = task(f"arn:aws:states:::{action}", Arguments=arguments)

        assert called(definition) == [Call("Run", "function", name)]


@pytest.mark.parametrize(
    ("fields", "name"),
    [({"Arguments": "{% $states.input %}"}, "{% $states.input %}"), ({}, "$")],
    ids=["one expression", "the input"],
)
def test_arguments_that_only_the_run_knows_name_something(fields: Mapping[str, str], name: str) -> None:
    assert called(task("arn:aws:states:::glue:startJobRun", **fields)) == [Call("Run", "Glue job", name)]


@pytest.mark.parametrize(
    "definition",
    [
        task("arn:aws:states:::sqs:sendMessage", Parameters={"FunctionName": "enrich"}),
        task("arn:aws:states:::aws-sdk:lambda:getFunction", Parameters={"FunctionName": "enrich"}),
        task("arn:aws:states:::athena:startQueryExecution.sync", Parameters={"QueryString": "SELECT 1"}),
        task("arn:aws:states:::bedrock:invokeModel", Parameters={"ModelId": "amazon.titan-text-lite-v1"}),
        task("arn:aws:states:::lambda:invoke", Parameters={"Payload": {"FunctionName": "enrich"}}),
        task("arn:aws:states:::lambda:invoke", Parameters={"FunctionName": ""}),
        task("arn:aws:states:::lambda:invoke", Parameters={"FunctionName": 3}),
        task("arn:aws:states:::lambda:invoke", Parameters=["enrich"]),
        task("enrich"),
        {"States": {"Run": {"Type": "Pass", "Resource": ENRICH}}},
        {"States": {"Run": {"Type": "Pass", "Result": task(ENRICH)}}},
    ],
    ids=lambda definition: json.dumps(definition["States"]["Run"])[:80],
)
def test_other_states_and_actions_call_nothing(definition: object) -> None:
    assert called(definition) == []


def test_calls_within_maps_and_branches_are_found_by_name() -> None:
    definition = {
        "States": {
            "Old": {"Type": "Map", "Iterator": task("${C.Arn}")},
            "Fan": {"Type": "Parallel", "Branches": [task("${A.Arn}"), {"States": {"Each": {}}}]},
            "Each": {
                "Type": "Map",
                "ItemProcessor": {"States": {"Fan": {"Type": "Parallel", "Branches": [task("${B.Arn}")]}}},
            },
        }
    }

    assert [call.name for call in called(definition)] == ["${B.Arn}", "${A.Arn}", "${C.Arn}"]


def test_cdk_writes_calls_and_numbers_so() -> None:
    rendered = (
        '{"StartAt":"Each","States":{"Each":{"Type":"Map","End":true,"ItemProcessor":{"ProcessorConfig":'
        '{"Mode":"INLINE"},"StartAt":"T","States":{"T":{"End":true,"Retry":[{"ErrorEquals":["States.ALL"]}],'
        '"Type":"Task","Resource":"arn:${AWS::Partition}:states:::lambda:invoke","Parameters":{"FunctionName":'
        '"${Enrich.Arn}","Payload":{"n":${N.Ref}}}}}},"MaxConcurrency":${N.Ref}}}}'
    )

    assert called(rendered) == [Call("T", "function", "${Enrich.Arn}")]
    assert "MaxConcurrency" not in text(deciding(rendered))
