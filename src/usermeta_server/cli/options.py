"""Options made of the settings' table, so that flags, environment and help are one."""

import os
from collections.abc import Callable, Mapping
from dataclasses import fields
from typing import Any, TypeVar

import click

from usermeta_server.settings import read, variable

S = TypeVar("S")
F = TypeVar("F", bound=Callable[..., Any])


def settings_options(kind: type[Any], *names: str) -> Callable[[F], F]:
    """Add an option for each setting, or for those named."""

    def decorate(function: F) -> F:
        for setting in reversed(fields(kind)):
            if not names or setting.name in names:
                text = f"{setting.metadata['help']}  [{variable(setting.name)}"
                default = setting.metadata["default"]
                function = click.option(
                    f"--{setting.name.replace('_', '-')}",
                    setting.name,
                    metavar="VALUE",
                    help=f"{text}; {default}]" if default else f"{text}]",
                )(function)
        return function

    return decorate


def given(kind: type[S], flags: Mapping[str, str | None]) -> S:
    """Return settings from the flags of a command and the environment.

    Raises:
        OperatorError: a value is not what its setting takes.
    """
    return read(kind, os.environ, flags)


def is_given(flags: Mapping[str, str | None], *names: str) -> bool:
    """Tell whether a flag or a variable, be it empty, gives any of these settings."""
    return any(flags.get(name) is not None or variable(name) in os.environ for name in names)
