"""What this node is called: one name, given to `join` and kept in `name` in its state directory."""

from __future__ import annotations

import logging
import os

from node.errors import NodeError
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
        with open(path) as file:
            kept = file.read().strip()
    except FileNotFoundError:
        kept = ""
    except (OSError, ValueError) as error:
        raise NodeError(f"cannot read this node's name in {path}: {error}") from error
    if not wanted:
        return kept or os.uname().nodename
    if kept and kept != wanted:
        logging.warning(
            "this node is called %s from now on; zcc-broker keys lists its key as %s", wanted, kept
        )
    if kept != wanted:
        keep_name(state, wanted)
    return wanted
