"""What runs leave on disk: atomic files, tidy curves and their provenance."""

from __future__ import annotations


class UserError(Exception):
    """Something a person must fix.

    The message is one sentence that names the thing and what was expected.
    """
