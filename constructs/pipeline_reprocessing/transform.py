"""The function through which an `ArchivePipeline` replays messages."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from aws_cdk import Size, Stack
from aws_cdk.aws_lambda import IFunction

from object_replay.settings import Contract, ResultFraming
from pipeline_reprocessing.arguments import check_function, check_number, one_of, shown
from pipeline_reprocessing.limits import whole_bytes
from pipeline_reprocessing_handler.validation import Failure

if TYPE_CHECKING:
    # A large module, which an app without a delivery stream need not load.
    from aws_cdk.aws_kinesisfirehose import IDeliveryStream

MAX_ACTIVITY_BATCH = 1_000
"""IoT Analytics' largest batch (API `LambdaActivity`, `batchSize`)."""
ACTIVITY_BYTES = 4 << 20
"""Bytes in a batch of a Lambda activity, so that the answer fits into Lambda's 6 MB even if it is half as long again."""
MAX_FIREHOSE_BATCH = 10_000
MIN_BUFFER, DEFAULT_BUFFER, MAX_BUFFER = 200_000, 1 << 20, 3 << 20
"""Bytes in Firehose's transformation buffer (API `ProcessorParameter`, `BufferSizeInMBs`: 0.2 to 3 MB, by default 1)."""
NO_SUCH_STREAM = "pipeline-reprocessing-no-such-stream"


@dataclass(frozen=True)
class Transform:
    r"""The function that turns messages into results. Make one with `lambda_activity` or `firehose`.

    The function needs no change: it receives and returns the same as in IoT Analytics or in Firehose.

    Example:
        from aws_cdk import Stack
        from aws_cdk.aws_lambda import Code, Function, Runtime
        from pipeline_reprocessing import Transform

        enrich = Function(
            Stack(),
            "Enrich",
            runtime=Runtime.PYTHON_3_14,
            handler="index.handler",
            code=Code.from_inline("def handler(messages, context):\n    return messages"),
        )
        transform = Transform.lambda_activity(enrich, batch_size=100)
    """

    function: IFunction
    contract: Contract
    batch_size: int
    max_bytes: int = ACTIVITY_BYTES
    delivery_stream: IDeliveryStream | None = None
    result_framing: ResultFraming = ResultFraming.LINES

    @classmethod
    def lambda_activity(cls, function: IFunction, *, batch_size: int = 500) -> Transform:
        """A function written for IoT Analytics' Lambda activity: a list of messages in, a list of messages out.

        The list that it returns may be longer or shorter. When the function fails on a batch, the worker halves the
        batch until it finds the messages on which the function fails.

        Args:
            function: A function, a version or an alias.
            batch_size: Messages in a batch, 1 to 1,000; fewer where they exceed 4 MiB together. Default: 500.

        Raises:
            ValueError: An argument is invalid.

        Source: API `LambdaActivity`.
        """
        check_function(function)
        check_number("batch_size", batch_size, 1, MAX_ACTIVITY_BATCH)
        return cls(function, Contract.LAMBDA_ACTIVITY, batch_size)

    @classmethod
    def firehose(
        cls,
        function: IFunction,
        *,
        batch_size: int = 500,
        buffer_size: Size | None = None,
        delivery_stream: IDeliveryStream | None = None,
        result_framing: ResultFraming = ResultFraming.LINES,
    ) -> Transform:
        """A function written for Firehose's data transformation: records in, `Ok`, `Dropped` or `ProcessingFailed` out.

        A function whose answer would exceed Lambda's 6 MB often puts the rest back into the stream that the event
        names in `deliveryStreamArn`, as AWS's own processor of CloudWatch Logs does. In a replay those records would
        arrive in the live stream, and be missing here without an error. So by default the event names a stream that
        does not exist (`pipeline-reprocessing-no-such-stream`): such a put fails. If the function then fails too, the
        worker halves the batch, so that the answers fit; a smaller `buffer_size` avoids that.

        The pipeline does not support dynamic partitioning: when the function returns `metadata.partitionKeys`, the
        run refuses the result.

        Args:
            function: A function, a version or an alias.
            batch_size: Records in a batch, 1 to 10,000. Default: 500.
            buffer_size: Data in a batch before it is base64-encoded, 0.2 to 3 MB, rounded down to whole bytes; a
                larger record is a batch of its own. A token must be `Size.bytes(...)`. Default: 1 MiB, as in
                Firehose.
            delivery_stream: The stream that the event names in `deliveryStreamArn`, for a function that reads it.
                The function may then write into this stream. Default: a stream that does not exist.
            result_framing: What separates results: `LINES` adds a newline to a text that does not end in one, `BYTES`
                adds nothing. Default: `LINES`.

        Raises:
            ValueError: An argument is invalid.

        Source: Firehose's developer guide, "Transform source data"; API `ProcessorParameter`.
        """
        check_function(function)
        check_number("batch_size", batch_size, 1, MAX_FIREHOSE_BATCH)
        if delivery_stream is not None and not hasattr(delivery_stream, "delivery_stream_arn"):
            raise Failure(
                f"'delivery_stream' must be a delivery stream, got {shown(delivery_stream)}; use "
                "DeliveryStream.from_delivery_stream_arn()"
            )
        return cls(
            function,
            Contract.FIREHOSE,
            batch_size,
            max_bytes=DEFAULT_BUFFER
            if buffer_size is None
            else whole_bytes("buffer_size", buffer_size, MIN_BUFFER, MAX_BUFFER, " as in Firehose"),
            delivery_stream=delivery_stream,
            result_framing=one_of("result_framing", result_framing, ResultFraming),
        )

    @property
    def settings(self) -> Mapping[str, Any]:
        """What the state machine passes to its workers."""
        if self.contract is Contract.FIREHOSE and self.delivery_stream is None:
            return {**self.fingerprint, "StreamArn": self._no_such_stream}
        return self.fingerprint

    @property
    def fingerprint(self) -> Mapping[str, Any]:
        """The settings that decide the results.

        The ARN of the stream that does not exist is not among them: it changes when a stack is given an explicit
        account or region, which must not replay anything.
        """
        settings = {
            "Arn": self.function.function_arn,
            "Contract": self.contract.value,
            "BatchSize": self.batch_size,
            "MaxBytes": self.max_bytes,
        }
        if self.contract is Contract.FIREHOSE:
            settings["ResultFraming"] = self.result_framing.value
        if self.delivery_stream is not None:
            settings["StreamArn"] = self.delivery_stream.delivery_stream_arn
        return settings

    @property
    def _no_such_stream(self) -> str:
        return Stack.of(self.function).format_arn(
            service="firehose", resource="deliverystream", resource_name=NO_SUCH_STREAM
        )
