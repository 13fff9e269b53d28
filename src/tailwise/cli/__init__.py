"""The command line: one file a command, arguments in, a call, printing out.

Nothing here is imported by other rooms. Commands load torch only after their words have been checked, and `--help` never does.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, NoReturn

from tailwise.cli import together

if TYPE_CHECKING:
    from cyclopts import App

COMMANDS: dict[str, tuple[str, str, tuple[str, ...]]] = {
    "demo": (
        "tailwise.cli.demo:demo",
        "The whole story on real digits, in a minute.",
        ("tailwise demo", "tailwise demo --json", "tailwise demo --out /tmp/demo"),
    ),
    "explore": (
        "tailwise.cli.explore:explore",
        "Say what is in a data set, with advice; nothing is trained.",
        ("tailwise explore photos/", "tailwise explore labels.csv --columns path=file,label=species", "tailwise explore photos/ --json"),
    ),
    "check": (
        "tailwise.cli.check:check",
        "Find what is wrong with a data set: broken, blank and doubled images, leaks.",
        ("tailwise check photos/", "tailwise check photos/ --fix photos-clean/", "tailwise check labels.csv --root images/ --json"),
    ),
    "build": (
        "tailwise.cli.build:build",
        "Split and thin a data set, and write it in one of six layouts, with a manifest and a data card.",
        (
            "tailwise build photos/ photos-lt/ --tail exponential:100",
            "tailwise build labels.csv out/ --root images/ --split 80/10/10 --layout parquet",
            "tailwise build cifar100 cifar100-lt/ --root archives/ --tail exponential:100 --twin cifar100-even/",
        ),
    ),
    "train": (
        "tailwise.cli.train:train",
        "Train one method with one seed.",
        (
            "tailwise train photos/ --method ldam-drw",
            'tailwise train digits --recipe demo --method "ldam(max_margin=0.3)" --with sam --seed 1',
            "tailwise train photos/ --method ./mine.py --set width=2 --set recipe.epochs=20",
        ),
    ),
    "compare": (
        "tailwise.cli.compare:compare",
        "Compare many methods over many seeds, equal parts once.",
        (
            "tailwise compare photos/",
            "tailwise compare photos/ --methods ce,la,ldam-drw,crt --seeds 5 --recipe quick",
            'tailwise compare digits --recipe demo --tail exponential:50 --methods "ldam,ldam(max_margin=0.3),ldam+sam"',
        ),
    ),
    "features": (
        "tailwise.cli.features:features",
        "Write frozen features of a pre-trained network.",
        (
            "tailwise features photos/ --out photos-features/",
            "tailwise features photos/ --net mobilenetv2_100@mobilenetv2_100.safetensors --out photos-features/",
        ),
    ),
    "predict": (
        "tailwise.cli.predict:predict",
        "Name the class of images with a trained run.",
        (
            "tailwise predict tailwise-out/photos-la-seed0-1a2b3c4d new/",
            "tailwise predict RUN a.jpg b.jpg --top 3 --json",
            "tailwise predict RUN new/ --test-prior expected.json",
            "tailwise predict RUN test_images/ --submission sample_submission.csv --out submission.csv",
        ),
    ),
    "adjust": (
        "tailwise.cli.adjust:adjust",
        "Correct anybody's logits, or a run's answers, for the tail, without training.",
        (
            "tailwise adjust RUN --posthoc tau-norm --out RUN-adjusted",
            "tailwise adjust logits.npy --counts counts.json --tau 1 --out adjusted.npy",
            "tailwise adjust logits.npy --counts counts.json --test-prior train --val-logits v.npy --val-labels y.npy --out adjusted.npy",
        ),
    ),
    "report": (
        "tailwise.cli.report:report",
        "Print the table of runs, or of a study, from their predictions.",
        (
            "tailwise report tailwise-out/demo-1a2b3c4d",
            "tailwise report tailwise-out/demo-1a2b3c4d/runs/ce-seed0",
            "tailwise report tailwise-out/demo-1a2b3c4d --posthoc la,tau-norm --shift --out report",
            "tailwise report tailwise-out/demo-1a2b3c4d/runs/crt-seed* --json",
        ),
    ),
    "export": (
        "tailwise.cli.export:export",
        "Write a run's model as ONNX and torch.export, checked against the run.",
        ("tailwise export RUN --out model/", "tailwise export RUN --out model/ --format onnx"),
    ),
    "cite": (
        "tailwise.cli.cite:cite",
        "Print the references of what runs used: a paragraph and BibTeX.",
        ("tailwise cite tailwise-out/photos-1a2b3c4d", "tailwise cite RUN > references.bib"),
    ),
    "methods": ("tailwise.cli.methods:methods", "List all methods and modifiers.", ("tailwise methods", "tailwise methods --json")),
    "networks": (
        "tailwise.cli.networks:networks",
        "List networks, and how others are named.",
        ("tailwise networks", "tailwise networks --like vit"),
    ),
    "recipes": ("tailwise.cli.recipes:recipes", "List recipes.", ("tailwise recipes", "tailwise recipes --json")),
    "show": (
        "tailwise.cli.show:show",
        "Show one card: a method, modifier, network or recipe.",
        ("tailwise show ldam-drw", "tailwise show cifar", "tailwise show resnet32"),
    ),
    "doctor": (
        "tailwise.cli.doctor:doctor",
        "Say what is installed, what runs here, and what the store holds.",
        ("tailwise doctor", "tailwise doctor --json"),
    ),
}
"""Name -> where the function is, one line of help, examples. Functions are imported when they are called."""


def main(argv: Sequence[str] | None = None) -> NoReturn:
    """Run a command and exit: 0 fine, 1 errors found, 2 bad input, 3 stopped on the way, 70 unexpected fault, 130 interrupted."""
    words = list(sys.argv[1:] if argv is None else argv)
    with contextlib.suppress(ValueError):  # not the main thread
        signal.signal(signal.SIGTERM, _interrupt)  # a scheduler's wish is a Ctrl-C
    code = run(words)
    if together.is_launched():
        together.leave(code)
    sys.exit(code)


def _interrupt(number: int, frame: object) -> NoReturn:
    raise KeyboardInterrupt


def run(words: list[str]) -> int:
    """Run a command and return its exit code; every refusal is one line on stderr."""
    from cyclopts import CycloptsError

    from tailwise.errors import TailwiseError

    together.WORDS.set(tuple(words))
    debug = "--debug" in words
    words = [word for word in words if word != "--debug"]
    app = make_app()
    try:
        with together.joined(words) as here, _warnings_told():
            code = app(words or ["--help"]) if here else None
    except TailwiseError as error:
        if debug:
            raise
        return _say(str(error), error.exit_code)
    except CycloptsError as error:
        return _say(_usage(error, words), 2)
    except KeyboardInterrupt as error:
        return _say(f"interrupted; {f'{error}, ' if error.args else ''}go on with: {together.command()}", 130)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except SystemExit as leaving:
        return int(leaving.code or 0)
    except Exception as error:
        if debug:
            raise
        if together.lost_another(error):
            together.let_others_speak()  # the one that failed says why, and the launcher where one was killed
            return together.KILLED
        return _say(f"unexpected fault: {type(error).__name__}: {error}; the same command with --debug shows where", 70)
    return code if isinstance(code, int) else 0


@contextlib.contextmanager
def _warnings_told() -> Iterator[None]:
    """Say what the library warns of in one line each, as everything else is said."""
    import logging

    logger, handler = logging.getLogger("tailwise"), logging.StreamHandler()
    handler.setFormatter(logging.Formatter("tailwise: %(message)s"))
    logger.addHandler(handler)
    logger.propagate = False
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.propagate = True


def make_app() -> App:
    """Make the application; commands are named, not imported."""
    from cyclopts import App, Parameter

    from tailwise.version import __version__

    app = App(
        name="tailwise",
        help="The workbench for long-tailed image data.",
        help_epilogue="`tailwise COMMAND --help` says more. Start with: tailwise demo",
        default_parameter=Parameter(negative="", show_default=_shown),
        help_format="plaintext",
        version=__version__,
        print_error=False,
        exit_on_error=False,
        suppress_keyboard_interrupt=False,
        result_action="return_value",
    )
    for name, (place, help_line, examples) in COMMANDS.items():
        app.command(place, name=name, help=help_line, help_epilogue="\n".join(("Examples:", *(f"  {line}" for line in examples))))
    return app


def _shown(default: Any) -> str | None:
    """Give a default as help shows it: what is not given, off or empty shows none."""
    return None if default is None or default is False or default == () else str(default)


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
    if not together.speaks() and code in (together.KILLED, 130):  # the first process has said so, or will
        return code
    if not together.speaks():
        together.let_others_speak()  # ends here where the first process has the same to say
        line = f"process {os.environ['RANK']}: {line}"
    print(f"tailwise: {line}", file=sys.stderr)
    return code
