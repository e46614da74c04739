"""One embedded AWS for a whole test session: the fixture `local_aws`.

Named in `tests/conftest.py`, so that all folders of tests share it. Tests that use it are marked `embedded`.
"""

from collections.abc import Iterator

import pytest

from local_aws import LocalAws


@pytest.fixture(scope="session")
def local_aws() -> Iterator[LocalAws]:
    """An embedded AWS with CDK's bootstrap stack, shared by all tests: give your stacks names of their own."""
    with LocalAws.start() as aws:
        aws.bootstrap()
        yield aws
