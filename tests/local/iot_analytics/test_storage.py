"""Where objects are kept, and what functions may return."""

from pathlib import Path
from typing import Any

import pytest

from local_aws.iot_analytics.functions import FunctionFailed, NoFunctions, lambda_functions, returned
from local_aws.iot_analytics.storage import Entry, FolderStore, MemoryStore, StorageError

KEY = "p/channel/c/__dt=2025-03-01 00:00:00/0_30000_1_c_0_0.0.json.gz"


@pytest.fixture(params=["memory", "folder"])
def store(request: Any, tmp_path: Path) -> Any:
    return MemoryStore() if request.param == "memory" else FolderStore(tmp_path / "deep" / "down")


def test_objects_are_kept_listed_in_order_and_replaced(store: Any) -> None:
    for key, body in ((KEY, b"one"), ("p/b", b"two"), ("q", b"three"), ("p/b", b"four")):
        store.put("raw", key, body)
    store.put("other", "p/z", b"")

    assert store.get("raw", KEY) == b"one"
    assert list(store.entries("raw", "p/")) == [Entry("p/b", 4), Entry(KEY, 3)]
    assert list(store.entries("none", "")) == []


def test_an_object_that_is_not_there_is_an_error_that_names_it(store: Any) -> None:
    with pytest.raises(StorageError, match=r"'k' cannot be read from bucket 'raw': "):
        store.get("raw", "k")


def test_an_object_that_cannot_be_written_is_an_error_that_names_it(tmp_path: Path) -> None:
    (tmp_path / "raw").write_bytes(b"a file where a folder should be")

    with pytest.raises(StorageError, match=r"'k' cannot be written to bucket 'raw': "):
        FolderStore(tmp_path).put("raw", "k", b"")


@pytest.mark.parametrize(
    ("payload", "problem"),
    [
        (b"null", "function 'f' must return a list of objects, got 'null'"),
        (b"[1]", "function 'f' must return a list of objects, got '[1]'"),
        (b'{"a": 1}', "function 'f' must return a list of objects, got '{\"a\": 1}'"),
        (b"", "function 'f' must return JSON: "),
        (b'[{"a": NaN}]', "function 'f' must return JSON: NaN is not JSON"),
    ],
)
def test_a_function_that_returns_something_else_has_failed(payload: bytes, problem: str) -> None:
    with pytest.raises(FunctionFailed) as caught:
        returned("f", payload)

    assert str(caught.value).startswith(problem)


def test_without_an_endpoint_there_are_no_functions(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_ENDPOINT_URL", raising=False)
    monkeypatch.delenv("AWS_ENDPOINT_URL_LAMBDA", raising=False)
    functions = lambda_functions()

    with pytest.raises(FunctionFailed) as caught:
        functions("f", [{}])

    assert isinstance(functions, NoFunctions)
    assert str(caught.value) == (
        "function 'f' cannot be invoked with 1 messages: there is no Lambda here; "
        "start the server with AWS_ENDPOINT_URL set"
    )
