"""Carries a command out, and turns each fault into a paragraph and an exit code."""

from __future__ import annotations

import sys
import traceback
from collections.abc import Callable

from capgate.common import exit_codes
from capgate.common.dependencies import is_missing, package_error
from capgate.common.errors import CapgateError
from capgate.common.files import FileError, told_of_files
from capgate.common.output import Output


def carry_out(name: str, action: Callable[[], int], out: Callable[[], Output]) -> int:
    """Carries a command out; every fault is told on standard error.

    Args:
        name: The command's name, which begins each message.
        action: The command; returns its exit code.
        out: How the command writes; called where there is a fault to tell.

    Returns:
        The command's exit code; USAGE for wrong usage and wrong files, ERROR for a file that can't
        be read or written, for a missing package and for a fault of capgate itself.
    """
    try:
        with told_of_files():
            return action()
    except FileError as error:
        out().error(f"{name}: {error}")
        return exit_codes.ERROR
    except CapgateError as error:
        out().error(f"{name}: {error}")
        return exit_codes.USAGE
    except BrokenPipeError:
        # The reader of our output has gone (`| head`): nothing is left to say to it.
        sys.stderr.close()
        return exit_codes.PASS
    except KeyboardInterrupt:
        return exit_codes.INTERRUPTED
    except Exception as error:
        if is_missing(error):
            out().error(f"{name}: {package_error(error)}")
            return exit_codes.ERROR
        out().error(traceback.format_exc())
        out().error(f"{name}: this is a fault of capgate itself; nothing was judged")
        return exit_codes.ERROR
