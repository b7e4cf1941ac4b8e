"""The exceptions that MedPerSAM raises on purpose.

Every message is one sentence that names the offending value and the remedy; the command line prints it and exits with
code 2, the module shows it in its status line.
"""


class MedPerSAMError(Exception):
    """Base of all errors a user can cause and mend."""


class InputError(MedPerSAMError, ValueError):
    """A volume, image, mask or setting that cannot be worked on."""


class NothingDrawn(InputError):
    """A segment that holds only what was found for it: no slice of it was drawn or corrected by hand."""


class ModelError(MedPerSAMError):
    """A model that is unknown, missing, damaged or of another kind."""


class OutputError(MedPerSAMError, OSError):
    """A result that cannot be written where it was asked for."""


class DependencyError(MedPerSAMError, ImportError):
    """A package that is needed and not installed."""


class Cancelled(MedPerSAMError):
    """The user stopped the work; what had finished is kept by whoever catches this."""
