from __future__ import annotations

import warnings

import pytest

from millpond.errors import ObjectStoreWarning
from millpond.owner.notices import Notices


def test_a_warning_points_to_the_users_line() -> None:
    notices = Notices()
    notices.add("too large")
    with pytest.warns(ObjectStoreWarning, match="too large") as caught:
        notices.show()
    assert caught[0].filename == __file__
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        notices.show()  # nothing is left


def test_a_warning_can_be_an_error() -> None:
    notices = Notices()
    notices.add("too large")
    with warnings.catch_warnings():
        warnings.simplefilter("error", ObjectStoreWarning)
        with pytest.raises(ObjectStoreWarning, match="too large"):
            notices.show()
