"""The command line: `usermeta serve` runs the server, the other commands work on one or on a store."""

import os
import sys

import click

from usermeta_server.cli.history import history
from usermeta_server.cli.indexes import indexes
from usermeta_server.cli.keys import keys, token
from usermeta_server.cli.relay import relay
from usermeta_server.cli.rpc_errors import exit_code_of
from usermeta_server.cli.serve import serve
from usermeta_server.cli.tables import printable
from usermeta_server.cli.users import users
from usermeta_server.cli.watch import watch
from usermeta_server.errors import ExitCode, OperatorError, UsermetaError

_EXIT_CODES = """\b
Exit codes:
  0    it is done
  1    a fault, of this program or of the server
  2    usage, a setting or a file that is wrong
  3    what was asked for is not there
  4    refused: not allowed, not valid, or in conflict
  5    the server or the database cannot be reached
  130  broken off: interrupted, or nobody reads the output any more
"""


_STDERR = 2
"""The last of the descriptors of standard streams."""


class _ReaderGoneError(Exception):
    """Nobody reads the output any more. No OSError: click would end the program for those, and call it a fault."""


class _Program(click.Group):
    def invoke(self, ctx: click.Context) -> object:
        """Run a command."""
        try:
            return super().invoke(ctx)
        except BrokenPipeError as error:
            raise _ReaderGoneError from error


@click.group(cls=_Program, context_settings={"help_option_names": ["-h", "--help"]}, epilog=_EXIT_CODES)
def usermeta() -> None:
    """Users' custom metadata over gRPC: private, public, unsafe.

    With --address or --key (USERMETA_ADDRESS, USERMETA_KEY) a command goes to that server. Without either it works on
    the store of USERMETA_DATABASE_URL itself, while no server owns it. Only `serve` and `keys create` make a store.

    Every option can also be set in the environment: --listen is USERMETA_LISTEN.
    """


for command in (serve, keys, token, users, indexes, watch, history, relay):
    usermeta.add_command(command)


def main() -> None:
    """Run the command line; whatever goes wrong is told in a line or a few, and by the exit code."""
    _fill_descriptors()
    try:
        code = usermeta(standalone_mode=False)
        if sys.stdout:
            sys.stdout.flush()
    except click.exceptions.Abort:
        code = ExitCode.BROKEN_OFF
    except click.ClickException as error:
        error.show()
        code = error.exit_code
    except OperatorError as error:
        code = _told(str(error), error.exit_code)
    except UsermetaError as error:
        code = _told(str(error), exit_code_of(error.reason.status))
    except (_ReaderGoneError, BrokenPipeError):
        code = ExitCode.BROKEN_OFF
        # Python flushes once more at its end, and would complain.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except OSError as error:
        code = _told(f"{error.filename or 'reading or writing'}: {error.strerror or error}", ExitCode.FAULT)
    except Exception as error:  # noqa: BLE001  # the outermost layer
        code = _told(f"a fault of this program: {type(error).__name__}: {error}", ExitCode.FAULT)
    if code:
        sys.exit(code)


def _fill_descriptors() -> None:
    """Open those of the standard streams that the caller closed, so that no file or socket of ours is taken for one."""
    while (opened := os.open(os.devnull, os.O_RDWR)) <= _STDERR:
        pass
    os.close(opened)


def _told(text: str, code: ExitCode) -> ExitCode:
    lines = "\n".join(map(printable, text.splitlines()))
    click.echo(f"usermeta: {lines}", err=True)
    return code
