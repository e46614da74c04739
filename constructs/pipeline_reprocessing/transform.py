"""The function through which an `ArchivePipeline` replays messages."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from aws_cdk.aws_lambda import IFunction

from archive_replay.settings import Contract
from pipeline_reprocessing.arguments import check_number, shown
from pipeline_reprocessing_handler.rules import Failure

MAX_ACTIVITY_BATCH = 1_000
"""IoT Analytics' largest batch (API `LambdaActivity`, `batchSize`)."""
MAX_FIREHOSE_BATCH = 10_000


@dataclass(frozen=True)
class Transform:
    r"""The function that makes results of messages. Make one with `lambda_activity` or `firehose`.

    The function stays as it is: it takes and gives what it takes and gives in IoT Analytics or in Firehose.

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

    @classmethod
    def lambda_activity(cls, function: IFunction, *, batch_size: int = 500) -> Transform:
        """A function made for IoT Analytics' Lambda activity: a list of messages in, a list of messages out.

        The list that it gives may be longer or shorter. When the function fails on a batch, the batch is halved
        until the messages are found on which it fails.

        Args:
            function: A function, a version or an alias.
            batch_size: Messages at once, 1 to 1,000; fewer where they are large. Default: 500.

        Raises:
            ValueError: The size is out of these bounds.

        Source: API `LambdaActivity`.
        """
        return cls._of(function, Contract.LAMBDA_ACTIVITY, batch_size, MAX_ACTIVITY_BATCH)

    @classmethod
    def firehose(cls, function: IFunction, *, batch_size: int = 500) -> Transform:
        """A function made for Firehose's data transformation: records in, `Ok`, `Dropped` or `ProcessingFailed` out.

        Records hold a message each, without a newline at its end.

        Args:
            function: A function, a version or an alias.
            batch_size: Records at once, 1 to 10,000; fewer where they are large. Default: 500.

        Raises:
            ValueError: The size is out of these bounds.

        Source: Firehose's developer guide, "Transform source data".
        """
        return cls._of(function, Contract.FIREHOSE, batch_size, MAX_FIREHOSE_BATCH)

    @classmethod
    def _of(cls, function: IFunction, contract: Contract, batch_size: int, most: int) -> Transform:
        if not hasattr(function, "function_arn"):
            raise Failure(f"'function' must be a Lambda function, got {shown(function)}")
        check_number("batch_size", batch_size, 1, most)
        return cls(function, contract, batch_size)

    @property
    def settings(self) -> Mapping[str, Any]:
        """What the state machine is told of it."""
        return {
            "Arn": self.function.function_arn,
            "Contract": self.contract.value,
            "BatchSize": self.batch_size,
            "MaxBytes": 4 << 20,
        }
