"""What this node is called: one name, given to `join` and kept in `name` in its state directory."""

from __future__ import annotations

import logging
import os

from node.errors import NodeError
from zcc.documents import read_text
from zcc.errors import ConfigError
from zcc.keys import save_private

FILE_NAME = "name"


def keep_name(state: str, name: str) -> None:
    """Write the name down for every later `serve`."""
    save_private(os.path.join(state, FILE_NAME), name + "\n")


def settled_name(state: str, wanted: str) -> str:
    """The node's name: `wanted` where `serve` was given one, else the kept one, else the host's.

    Another name than the kept one is kept from now on. The broker's list of keys has the one given to `join`,
    which no member can change, so that the difference is said in the log.

    Raises:
        NodeError: the file is there and cannot be read.
    """
    path = os.path.join(state, FILE_NAME)
    try:
        kept = read_text(path).strip()
    except FileNotFoundError:
        kept = ""
    except ConfigError as error:
        raise NodeError(f"this node's name: {error}") from error
    if not wanted:
        return kept or os.uname().nodename
    if kept and kept != wanted:
        logging.warning(
            "this node is called %s from now on; zcc-broker keys lists its key as %s", wanted, kept
        )
    if kept != wanted:
        keep_name(state, wanted)
    return wanted
