"""Places in ministack where the mendings hang: taken by name, and loudly missed when they are gone."""

import inspect
from collections.abc import Callable
from functools import update_wrapper
from importlib import import_module
from importlib.metadata import version
from typing import Any

MINISTACK = "1.5.33"
"""The one release that the mendings were written for and tested with."""


class HookGone(Exception):
    """ministack is not the one that the mendings were written for."""


def check_version() -> None:
    """Refuses another release than `MINISTACK`.

    Raises:
        HookGone: Another release is installed.
    """
    found = version("ministack")
    if found != MINISTACK:
        raise HookGone(
            f"'ministack' must be {MINISTACK}, for which local_aws.emulator was written, got {found}; "
            "install the locked version, or try tests/local with the new one and change MINISTACK"
        )


def find(module: str, name: str) -> Any:
    """The attribute `name` of the ministack module `module`.

    Raises:
        HookGone: There is none.
    """
    try:
        return getattr(import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise HookGone(f"ministack {MINISTACK} has no {module}.{name} any more: {error}") from error


def replace(module: str, name: str, parameters: str, make: Callable[[Any], Callable[..., Any]]) -> None:
    """Puts `make(original)` in the place of a function of ministack.

    Args:
        module: The module through which ministack itself finds the function when it calls it.
        name: The function's name there.
        parameters: The names of its parameters, separated by spaces, as the replacement expects them.
        make: Gets the original and gives its replacement.

    Raises:
        HookGone: The function is gone or takes other parameters.
    """
    original = find(module, name)
    found = " ".join(inspect.signature(original).parameters)
    if found != parameters:
        raise HookGone(f"{module}.{name} must take '{parameters}', got '{found}'")
    # With the signature of the original, so that a second replacement can go around the first.
    setattr(import_module(module), name, update_wrapper(make(original), original))
