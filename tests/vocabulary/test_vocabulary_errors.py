"""Errors: one line, the nearest names, and the built-in that each resembles."""

import pytest

from tailwise import errors
from tailwise.errors import TailwiseError, UnknownName

BUILT_IN = {
    "BadData": ValueError,
    "BadValue": ValueError,
    "UnknownName": LookupError,
    "Clash": ValueError,
    "NoSpecification": TypeError,
    "OutputExists": FileExistsError,
    "Unwritable": OSError,
    "Stopped": RuntimeError,
}


@pytest.mark.parametrize(("name", "resembles"), BUILT_IN.items())
def test_each_resembles_a_built_in(name, resembles):
    kind = getattr(errors, name)
    assert issubclass(kind, TailwiseError)
    assert issubclass(kind, resembles)
    assert kind.exit_code == (3 if name == "Stopped" else 2)


@pytest.mark.parametrize("name", [name for name in BUILT_IN if name != "UnknownName"])
def test_the_message_is_what_was_said(name):
    """A single string of a LookupError or OSError would otherwise come out quoted or numbered."""
    assert str(getattr(errors, name)("what is wrong, what to do")) == "what is wrong, what to do"


def test_near_names_are_suggested():
    error = UnknownName("method", "ldan", ["ldam", "ldam-drw", "ce"], see="See the list.")
    assert error.suggestions[0] == "ldam"
    assert str(error).startswith("no method is called 'ldan'. Did you mean 'ldam'")
    assert str(error).endswith("See the list.")


def test_few_names_are_all_listed_and_many_are_not():
    assert str(UnknownName("head", "zzz", ["linear", "cosine"])) == "no head is called 'zzz'. Known: cosine, linear."
    assert str(UnknownName("head", "zzz", [f"name{i}" for i in range(40)])) == "no head is called 'zzz'."
    assert UnknownName("head", "zzz", ["linear"]).suggestions == ()
