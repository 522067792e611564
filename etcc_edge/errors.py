"""The one exception family: raised where the cause is known, with place, value and remedy in one line."""


class EtccError(Exception):
    """What a user can mend: the message says what is wrong, where, and what to do."""


class FlowsError(EtccError):
    """A flows file that cannot be read, or lacks what is needed."""


class BundleError(EtccError):
    """A bundle that is damaged, of an unknown format, or does not fit."""


class UnknownBundle(BundleError):
    """Neither a shipped bundle's name nor a path."""


class BackendError(EtccError):
    """A backend that this machine lacks, or that cannot run a network."""
