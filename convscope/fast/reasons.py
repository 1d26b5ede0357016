"""Why there are no compiled kernels."""


class NotAvailable(Exception):
    """Why there are no compiled kernels, in a few words."""
