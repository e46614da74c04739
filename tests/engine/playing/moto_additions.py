"""What moto's Step Functions interpreter and S3 lack and the archive's workflow needs, each as AWS documents it.

Every addition says first what moto lacks, so that a version of moto that has it, or moved it, ends the tests loudly.
"""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from botocore.exceptions import ClientError
from moto.s3.exceptions import MissingKey, PreconditionFailed
from moto.s3.responses import S3Response
from moto.stepfunctions.parser.api import HistoryEventType
from moto.stepfunctions.parser.asl.component.common.error_name.custom_error_name import CustomErrorName
from moto.stepfunctions.parser.asl.component.common.error_name.error_name import ErrorName
from moto.stepfunctions.parser.asl.component.common.error_name.failure_event import (
    FailureEvent,
    FailureEventException,
)
from moto.stepfunctions.parser.asl.component.common.error_name.states_error_name import StatesErrorName
from moto.stepfunctions.parser.asl.component.common.error_name.states_error_name_type import (
    StatesErrorNameType,
)
from moto.stepfunctions.parser.asl.component.common.retry import retrier_decl
from moto.stepfunctions.parser.asl.component.state.exec.state_map.item_reader.eval.resource_output_transformer import (
    transformer_json,
)
from moto.stepfunctions.parser.asl.component.state.exec.state_map.item_reader.reader_config import input_type
from moto.stepfunctions.parser.asl.component.state.exec.state_map.iteration.distributed_iteration_component import (
    DistributedIterationComponent,
)
from moto.stepfunctions.parser.asl.component.state.exec.state_map.iteration.itemprocessor import (
    distributed_item_processor_worker as children,
)
from moto.stepfunctions.parser.asl.component.state.exec.state_task.service.state_task_service_lambda import (
    StateTaskServiceLambda,
)
from moto.stepfunctions.parser.asl.component.state.exec.state_task.state_task_lambda import StateTaskLambda
from moto.stepfunctions.parser.asl.eval.program_state import ProgramStopped
from moto.stepfunctions.parser.backend.execution import Execution


def complete(patch: pytest.MonkeyPatch, sleep: Callable[[float], None]) -> None:
    """Adds what is missing.

    Args:
        patch: Undoes it afterwards.
        sleep: Waits before a step is repeated, instead of real time.
    """
    _retries_wait_with(patch, sleep)
    _read_json_lines(patch)
    _fail_maps_whose_children_fail(patch)
    _name_errors_of_lambda(patch)
    _write_start_times_as_aws_does(patch)
    _compare_etags_on_copies(patch)


def executable(definition: dict[str, Any]) -> str:
    """The definition as moto takes it: see `_read_json_lines`."""
    text = json.dumps(definition)
    assert text.count('"InputType": "JSONL"') == 2
    return text.replace('"InputType": "JSONL"', '"InputType": "JSON"')


def _retries_wait_with(patch: pytest.MonkeyPatch, sleep: Callable[[float], None]) -> None:
    assert "time.sleep(interval_seconds)" in inspect.getsource(retrier_decl.RetrierDecl)
    patch.setattr(retrier_decl, "time", SimpleNamespace(sleep=sleep))


def _read_json_lines(patch: pytest.MonkeyPatch) -> None:
    """Moto reads CSV and JSON: here JSON means JSON Lines."""
    assert "JSONL" not in input_type.InputTypeValue.__members__
    assert "json.loads(resource_value)" in inspect.getsource(transformer_json)
    patch.setattr(
        transformer_json,
        "json",
        SimpleNamespace(loads=lambda text: [json.loads(line) for line in text.split("\n") if line]),
    )


def _fail_maps_whose_children_fail(patch: pytest.MonkeyPatch) -> None:
    """Moto counts failed children and goes on. Here the first one ends the map, as the tolerance of 0 asks."""
    assert "tolerated_failure_percentage" not in inspect.getsource(children)
    assert "job_pool.get_worker_exception()" in inspect.getsource(DistributedIterationComponent)
    run = children.DistributedItemProcessorWorker._eval_job

    def eval_job(self: Any, env: Any, job: Any) -> None:
        run(self, env, job)
        if job.job_output is None and not isinstance(env.program_state(), ProgramStopped):
            assert self._map_run_record.tolerated_failure_percentage == 0
            kind = StatesErrorNameType.StatesExceedToleratedFailureThreshold
            details = {
                "error": kind.to_name(),
                "cause": "The specified tolerated failure threshold was exceeded",
            }
            job.job_output = FailureEventException(
                _failure(
                    env,
                    StatesErrorName(kind),
                    HistoryEventType.MapRunFailed,
                    mapRunFailedEventDetails=details,
                )
            )

    patch.setattr(children.DistributedItemProcessorWorker, "_eval_job", eval_job)


def _name_errors_of_lambda(patch: pytest.MonkeyPatch) -> None:
    """Moto calls each error of Invoke `Exception`; AWS names it, as `Lambda.TooManyRequestsException`."""
    original = StateTaskLambda._from_error
    assert "_error_cause_from_client_error" not in inspect.getsource(original)

    def from_error(self: Any, env: Any, ex: Exception) -> FailureEvent:
        if not isinstance(ex, ClientError):
            return original(self, env, ex)
        error, cause = StateTaskServiceLambda._error_cause_from_client_error(ex)
        return _failure(
            env,
            CustomErrorName(error),
            HistoryEventType.LambdaFunctionFailed,
            lambdaFunctionFailedEventDetails={"error": error, "cause": cause},
        )

    patch.setattr(StateTaskLambda, "_from_error", from_error)


def _failure(env: Any, name: ErrorName, kind: HistoryEventType, **details: Any) -> FailureEvent:
    given: Any = details  # moto's TypedDict wants the details of every other kind, too
    return FailureEvent(env=env, error_name=name, event_type=kind, event_details=given)


def _write_start_times_as_aws_does(patch: pytest.MonkeyPatch) -> None:
    """`$$.Execution.StartTime` is a text with milliseconds; moto's is a datetime."""
    original = Execution.get_start_execution_details

    def details(self: Execution) -> Any:
        found: Any = original(self)
        assert not isinstance(found.start_time, str)
        found.start_time = found.start_time.strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3] + "Z"
        return found

    patch.setattr(Execution, "get_start_execution_details", details)


def _compare_etags_on_copies(patch: pytest.MonkeyPatch) -> None:
    """Moto ignores conditions on the target of CopyObject, which it knows on PutObject."""
    original = S3Response.copy_object
    assert '"If-Match"' not in inspect.getsource(original)
    assert '"If-Match"' in inspect.getsource(S3Response.put_object)

    def copy_object(self: Any) -> Any:
        found = self.backend.get_object(self.bucket_name, self.parse_key_name())
        if self.headers.get("If-None-Match") == "*" and found:
            raise PreconditionFailed("If-None-Match")
        if expected := self.headers.get("If-Match"):
            if not found:
                raise MissingKey
            if expected != found.etag:
                raise PreconditionFailed("If-Match")
        return original(self)

    patch.setattr(S3Response, "copy_object", copy_object)
