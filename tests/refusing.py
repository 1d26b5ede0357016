"""What tests of refusals share."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from convscope.errors import UserError


def refused(call: Callable[[], object]) -> str:
    with pytest.raises(UserError) as error:
        call()
    assert str(error.value).isprintable()
    return str(error.value)
