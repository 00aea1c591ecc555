from __future__ import annotations

import inspect
import pickle

import cloudpickle
import pytest

from millpond import errors

CLASSES = [
    error
    for _, error in inspect.getmembers(errors, inspect.isclass)
    if issubclass(error, BaseException)
]


def test_every_error_is_listed_and_nothing_else_is() -> None:
    assert sorted(errors.__all__) == errors.__all__
    assert [error.__name__ for error in CLASSES] == errors.__all__


@pytest.mark.parametrize("error", CLASSES)
def test_every_error_is_rooted_and_says_what_it_means(error: type[Exception]) -> None:
    assert error.__doc__
    assert error.__module__ == "millpond.errors"
    if issubclass(error, Warning):
        assert error.__name__.endswith("Warning")
    elif error is not errors.RemoteTraceback:  # carries text, and is never raised
        assert issubclass(error, errors.MillpondError)
        assert error.__name__.endswith("Error")


@pytest.mark.parametrize("pickler", [pickle, cloudpickle])
@pytest.mark.parametrize("error", CLASSES)
def test_every_error_crosses_processes(error: type[Exception], pickler: object) -> None:
    original = error("what happened, with a number: 5")
    original.add_note("and a note")
    dumps = getattr(pickler, "dumps")  # noqa: B009 - a module given as a parameter
    copy = pickle.loads(dumps(original, 5))
    assert type(copy) is error
    assert copy.args == original.args
    assert str(copy) == str(original)
    assert copy.__notes__ == ["and a note"]


@pytest.mark.parametrize("error", CLASSES)
def test_every_error_can_be_made_as_other_libraries_do(error: type[Exception]) -> None:
    """Those that pickle tracebacks, as distributed does, call ``__new__`` with the arguments."""
    assert error.__new__(error, "why").args == ("why",)


@pytest.mark.parametrize(
    ("error", "builtin"),
    [
        (errors.ConfigurationError, ValueError),
        (errors.GetTimeoutError, TimeoutError),
        (errors.NotInitializedError, RuntimeError),
        (errors.OutOfDiskError, OSError),
        (errors.OutOfMemoryError, MemoryError),
        (errors.OwnerDiedError, errors.ObjectLostError),
        (errors.ResourceError, ValueError),
        (errors.SerializationError, TypeError),
    ],
)
def test_errors_are_also_of_the_kind_that_callers_expect(
    error: type[Exception], builtin: type[Exception]
) -> None:
    with pytest.raises(builtin, match="why"):
        raise error("why")


def test_a_remote_traceback_shows_its_text_as_it_was() -> None:
    text = 'Traceback (most recent call last):\n  File "x", line 1\nValueError: no'
    shown = errors.RemoteTraceback(text)
    assert shown.text == text
    assert text in str(shown)
    assert pickle.loads(pickle.dumps(shown)).text == text
