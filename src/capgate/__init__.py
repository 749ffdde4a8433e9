"""capgate: tells whether a fine-tuned model has lost general capability."""

from importlib.metadata import PackageNotFoundError, version

try:
    __version__ = version("capgate")
except PackageNotFoundError:  # a checkout that was not installed
    __version__ = "0+checkout"
