"""`config/alerts.yaml`: which environment variables hold the URLs that alerts go to.

    ci-channel: SLACK_WEBHOOK_URL     # a variable, or a line of .env
    on-call: PAGER_URL

The URLs are secrets and stand in no file that git may see.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Final

from capgate.errors import ConfigError, FileFault
from capgate.yamlfile import ENV_NAME, read_yaml_mapping

FILE: Final = Path("config", "alerts.yaml")


def urls_of_file(root: Path, environment: Mapping[str, str]) -> list[str]:
    """The URLs that a project's file names; none where it has no such file.

    Raises:
        ConfigError: With every fault of the file. A URL in it is never repeated.
    """
    path = root / FILE
    if not path.exists():
        return []
    faults: list[FileFault] = []
    urls: list[str] = []
    for name, variable in read_yaml_mapping(path, what="each alert's variable").items():
        if not isinstance(variable, str) or not ENV_NAME.match(variable):
            faults.append(
                FileFault(
                    str(name), "expected the name of an environment variable that holds a URL"
                )
            )
        elif not (url := environment.get(variable, "").strip()):
            faults.append(FileFault(str(name), f"the variable {variable} is not set"))
        else:
            urls.append(url)
    if faults:
        raise ConfigError(
            f"{FILE} has {len(faults)} fault{'s' if len(faults) > 1 else ''}",
            faults=faults,
            remedy="name variables that hold the URLs, as in `ci-channel: SLACK_WEBHOOK_URL`",
        )
    return urls
