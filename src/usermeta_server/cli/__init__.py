"""The command line: `usermeta serve` runs the server, the other commands work on it or on its store."""

import sys

import click

from usermeta_server.cli.history import history
from usermeta_server.cli.indexes import indexes
from usermeta_server.cli.keys import keys, token
from usermeta_server.cli.relay import relay
from usermeta_server.cli.serve import serve
from usermeta_server.cli.users import users
from usermeta_server.cli.watch import watch
from usermeta_server.errors import OperatorError, UsermetaError


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def usermeta() -> None:
    """Users' custom metadata over gRPC: private, public, unsafe.

    Every option can also be set in the environment: --listen is USERMETA_LISTEN.
    """


for command in (serve, keys, token, users, indexes, watch, history, relay):
    usermeta.add_command(command)


def main() -> None:
    """Run the command line; an error that the operator can mend is one line, and exit code 2."""
    try:
        usermeta(standalone_mode=False)
    except click.exceptions.Abort:
        sys.exit(130)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except OperatorError as error:
        _fail(str(error), 2)
    except UsermetaError as error:
        _fail(str(error), 1)


def _fail(text: str, code: int) -> None:
    click.echo(f"usermeta: {' '.join(text.split())}", err=True)
    sys.exit(code)
