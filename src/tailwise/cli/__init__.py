"""The command line: one file a command, arguments in, a call, printing out.

Nothing here is imported by other rooms. Commands load torch only after their words have been checked, and `--help` never does.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import NoReturn

COMMANDS = {
    "demo": ("tailwise.cli.demo:demo", "The whole story on real digits, in a minute."),
    "train": ("tailwise.cli.train:train", "Train one method with one seed."),
    "compare": ("tailwise.cli.compare:compare", "Compare many methods over many seeds, equal parts once."),
    "report": ("tailwise.cli.report:report", "Print the table of runs, or of a study, from their predictions."),
    "methods": ("tailwise.cli.methods:methods", "List all methods and modifiers."),
    "show": ("tailwise.cli.show:show", "Show one card: a method, modifier, network or recipe."),
    "doctor": ("tailwise.cli.doctor:doctor", "Say what is installed, what runs here, and what the store holds."),
}

EPILOGUE = """Examples:
  tailwise demo
  tailwise compare photos/ --methods ce,la,ldam-drw,crt --seeds 3
  tailwise show ldam-drw"""


def main(argv: Sequence[str] | None = None) -> NoReturn:
    """Run a command and exit: 0 fine, 2 bad input, 3 stopped on the way, 70 unexpected fault, 130 interrupted."""
    words = list(sys.argv[1:] if argv is None else argv)
    debug = "--debug" in words
    words = [word for word in words if word != "--debug"]
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # threads that wait must not spin: before torch is imported
    sys.exit(run(words, debug))


def run(words: list[str], debug: bool = False) -> int:
    """Run a command and return its exit code; every refusal is one line on stderr."""
    from cyclopts import CycloptsError

    from tailwise.errors import TailwiseError

    app = make_app()
    try:
        app(words or ["--help"])
    except TailwiseError as error:
        if debug:
            raise
        return _say(str(error), error.exit_code)
    except CycloptsError as error:
        return _say(_usage(error, words), 2)
    except KeyboardInterrupt:
        return _say("interrupted; the same command goes on from here", 130)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except SystemExit as leaving:
        return int(leaving.code or 0)
    except Exception as error:
        if debug:
            raise
        return _say(f"unexpected fault: {type(error).__name__}: {error}; the same command with --debug shows where", 70)
    return 0


def make_app():  # type: ignore[no-untyped-def]
    """Make the application; commands are named, not imported."""
    from cyclopts import App

    from tailwise.version import __version__

    app = App(
        name="tailwise",
        help="The workbench for long-tailed image data.",
        help_epilogue=EPILOGUE,
        help_format="plaintext",
        version=__version__,
        print_error=False,
        exit_on_error=False,
        suppress_keyboard_interrupt=False,
        result_action="return_value",
    )
    for name, (place, help_line) in COMMANDS.items():
        app.command(place, name=name, help=help_line)
    return app


def _usage(error: Exception, words: Sequence[str]) -> str:
    """Turn a parser's complaint into one line with the nearest command."""
    from cyclopts import UnknownCommandError

    from tailwise.errors import UnknownName

    if isinstance(error, UnknownCommandError) and words:
        return str(UnknownName("command", words[0], COMMANDS, see="`tailwise --help` lists all."))
    said = " ".join(str(error).split())
    command = words[0] if words and words[0] in COMMANDS else ""
    return f"{said} See `tailwise {command + ' ' if command else ''}--help`."


def _say(line: str, code: int) -> int:
    print(f"tailwise: {line}", file=sys.stderr)
    return code
