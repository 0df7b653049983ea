"""The command line. Heavy modules are imported inside the commands, so that `audit --help` stays quick."""

from __future__ import annotations

import os
import sys
from typing import NoReturn

import click

from audit.cli.explaining import explain, list_checks, schema
from audit.cli.hardening import harden
from audit.cli.mitigating import mitigate
from audit.cli.planning import init
from audit.cli.running import run
from audit.cli.showing import judge, report
from audit.cli.speaking import say


def main(arguments: list[str] | None = None) -> NoReturn:
    """Run the command line; turn what a user can mend into one sentence and exit code 2."""
    from audit.errors import AssayError, IntegrityError

    try:
        code = commands.main(arguments, prog_name="audit", standalone_mode=False)
    except click.exceptions.Exit as stop:
        code = stop.exit_code
    except click.UsageError as error:
        error.show()
        code = 2
    except click.ClickException as error:
        say(error.format_message())
        code = 2
    except AssayError as error:
        say(str(error))
        code = 2
    except IntegrityError as error:
        say(str(error))
        code = 4
    except (KeyboardInterrupt, click.Abort):
        say("interrupted.")
        code = 130
    except BrokenPipeError:  # the reader of a pipe left; nobody is there to tell
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 0
    except Exception as error:  # a fault of ours: say so shortly, keep the traceback for those who ask
        if os.environ.get("ASSAY_DEBUG"):
            raise
        say(
            f"the audit itself broke: {type(error).__name__}: {error}. "
            "What was measured is kept; set ASSAY_DEBUG=1 to see where, and please report it."
        )
        code = 70
    sys.exit(code)


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(package_name="assay")
def commands() -> None:
    """Audit a trained deep model: explain it, attack it, measure it, judge it, harden it, mitigate it.

    Exit codes: 0 passed, 1 a gate failed, 2 usage or bad input, 3 evidence insufficient, 4 integrity broken,
    70 the audit itself broke, 130 interrupted.
    """


for command in (run, judge, report, harden, mitigate, list_checks, explain, init, schema):
    commands.add_command(command)
