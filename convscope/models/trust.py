"""Whether a recipe's factory may be imported: importing runs whatever code its module holds."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from contextvars import ContextVar

from convscope.errors import UserError, one_line

OURS = "convscope.recipes."  # modules that come with this package

_trusting: ContextVar[bool] = ContextVar("trusting", default=True)


class UntrustedError(UserError):
    """A network is not built, because its factory may be anyone's code."""


@contextlib.contextmanager
def trusting(trust: bool) -> Iterator[None]:
    """Inside, factories that recipes name are imported only with `trust`.

    For whoever reads what others may have written: a study's folder names modules, and one of them
    may lie in it.
    """
    token = _trusting.set(trust)
    try:
        yield
    finally:
        _trusting.reset(token)


def check_trusted(factory: str) -> None:
    """Raises UntrustedError where this factory is not to be imported."""
    if not _trusting.get() and not factory.startswith(OURS):
        raise UntrustedError(
            f"model {one_line(factory)!r}: its code is not run unasked; --trust imports it"
        )
