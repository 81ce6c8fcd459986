"""Where settings stand: the machine's file, and over it the user's own."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any, NamedTuple

import platformdirs

from zcc.documents import read_toml
from zcc.errors import ConfigError
from zcc.settings.schema import Schema

SYSTEM_DIR = "/etc/zcc"


class Layered(NamedTuple):
    """What stands in the files: the value in force of each name, and the path of the file that has it."""

    values: dict[str, Any]
    origins: dict[str, str]


def user_dir(environment: Mapping[str, str]) -> str:
    return environment.get("ZCC_CONFIG_DIR") or platformdirs.user_config_dir("zcc", False)


def system_dir(environment: Mapping[str, str]) -> str:
    return environment.get("ZCC_SYSTEM_CONFIG_DIR") or SYSTEM_DIR


def paths_of(schema: Schema, environment: Mapping[str, str]) -> tuple[str, str]:
    """The machine's file and the user's; the latter goes before."""
    places = system_dir(environment), user_dir(environment)
    system, user = (os.path.join(each, schema.file_name) for each in places)
    return system, user


def read_layers(schema: Schema, environment: Mapping[str, str]) -> Layered:
    """What is set in both.

    Raises:
        ConfigError: a file that is not TOML, an unknown name, a value that cannot be.
    """
    found = Layered({}, {})
    for path in paths_of(schema, environment):
        try:
            values = read_toml(path)
        except FileNotFoundError:
            continue
        for name, value in values.items():
            if unknown := schema.why_unknown(name):
                raise ConfigError(f"{path}: {unknown}")
            found.values[name], wrong = schema.checked(name, value)
            if wrong:
                raise ConfigError(f"{path}: {wrong}")
            found.origins[name] = path
    return found
