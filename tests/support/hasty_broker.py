"""`zcc-broker` whose quarantines are short: what takes minutes in life has to be over in a test."""

from __future__ import annotations

import importlib

from broker.core import limits

QUARANTINE_S = 3.0

if __name__ == "__main__":
    # Before anybody has read it.
    limits.QUARANTINE_S = QUARANTINE_S
    importlib.import_module("broker.main").main()
