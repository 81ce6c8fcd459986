"""The variables of a call or a build: whether what they say can be obeyed, by the same check as the setting.

One that says what cannot be is passed over, as if it were not set: it must end no build. Who looks at settings
(`zcc config`, `zcc doctor`) is told of it, and the agent tells of it in `zcc stats` and its log. Of
ZCC_FALLBACK the launcher tells too (zcc/launcher/call.c): who sets that wants to know. Pure.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping, Sequence

from zcc.config import expected_of

POLICIES = ("never", "forbid", "always")
KNOWN = frozenset(
    """
    ZCC_BASE_DIR ZCC_BROKER ZCC_BUILD ZCC_CACHE ZCC_CC ZCC_CONFIG_DIR ZCC_CXX ZCC_DEADLINE_MS ZCC_DISABLE
    ZCC_FALLBACK ZCC_LOCAL ZCC_LOG ZCC_PRIORITY ZCC_SERVICE_MANAGER ZCC_SOCKET ZCC_STATE_DIR
    ZCC_SYSTEM_CONFIG_DIR ZCC_VERIFY
    """.split()  # noqa: SIM905 (three lines, not fifteen)
)
# As near as a slip of the finger: others may have variables of this beginning too.
_NEAR = 0.85


def _expected_policy(value: str) -> str:
    return "" if value in POLICIES else "never, forbid or always"


def priority_of(value: str) -> int | None:
    """The niceness that ZCC_PRIORITY says; None: it says none."""
    digits = value.removeprefix("-")
    is_number = digits.isascii() and digits.isdigit() and len(digits) <= 2
    return int(value) if is_number and -20 <= int(value) <= 19 else None


def _expected_priority(value: str) -> str:
    return "" if priority_of(value) is not None else "-20 (first) to 19 (last)"


def _expected_patience(value: str) -> str:
    is_count = value.isascii() and value.isdigit() and 0 < int(value) < 1 << 31
    return "" if is_count else "milliseconds, a whole number above 0"


_CHECKS: dict[str, Callable[[str], str]] = {
    "ZCC_FALLBACK": _expected_policy,
    "ZCC_CACHE": lambda value: expected_of("cache", value),
    "ZCC_BASE_DIR": lambda value: expected_of("base_dir", value),
    "ZCC_VERIFY": lambda value: expected_of("verify", value),
    "ZCC_DEADLINE_MS": _expected_patience,
    "ZCC_PRIORITY": _expected_priority,
}
_BYTES = {name.encode(): name for name in _CHECKS}


def why_wrong(name: str, value: str) -> str:
    """A sentence on this variable; empty where it can be obeyed, or is not one of a call's."""
    check = _CHECKS.get(name)
    expected = check(value) if check is not None and value else ""
    return f"{name}={value} is not obeyed: expected {expected}" if expected else ""


def wrong_in_call(environment: Mapping[bytes, bytes]) -> Sequence[str]:
    """A sentence on each variable of a call's environment that cannot be obeyed."""
    found = []
    for key, name in _BYTES.items():
        value = environment.get(key)
        if value and (told := why_wrong(name, value.decode(errors="replace"))):
            found.append(told)
    return found


def wrong_in(environment: Mapping[str, str]) -> list[str]:
    """The same, and on names that are nearly one of zcc's, for who looks at what is in force."""
    told = [why_wrong(name, environment.get(name, "")) for name in _CHECKS]
    for name in sorted(environment):
        if name.startswith("ZCC_") and name not in KNOWN:
            near = difflib.get_close_matches(name, KNOWN, 1, _NEAR)
            told += [f"{name} is no variable of zcc's: is {near[0]} meant?"] if near else []
    return list(filter(None, told))
