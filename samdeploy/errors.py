"""Every error that samdeploy raises on purpose.

``SamDeployError``
├── ``InputError``               a prompt, image, option or file that the user gave is not usable
│   └── ``OutputError``          what is to be written cannot be: no permission, a full disk...
├── ``CheckpointError``          a checkpoint cannot be read or does not fit its architecture
├── ``DownloadError``            a checkpoint could not be fetched or failed its hash
├── ``BundleError``              a bundle is damaged, unsafe or newer than this version
├── ``RuntimeUnavailableError``  a runtime, device or provider is not usable here
├── ``ExportError``              an exporter failed
└── ``VerificationError``        an artifact does not match the torch reference

A message is one sentence: the value, what was expected, and what to do about it.
"""


class SamDeployError(Exception):
    """Base class; ``exit_code`` is what the command line returns for it."""

    exit_code = 1


class InputError(SamDeployError):
    exit_code = 2


class OutputError(InputError):
    """Not the fault of one image among many: work on a folder ends."""


class CheckpointError(SamDeployError):
    exit_code = 2


class DownloadError(SamDeployError):
    exit_code = 2


class BundleError(SamDeployError):
    exit_code = 2


class RuntimeUnavailableError(SamDeployError):
    exit_code = 2


class ExportError(SamDeployError):
    exit_code = 1


class VerificationError(SamDeployError):
    exit_code = 1
