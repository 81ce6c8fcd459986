"""`zcc masquerade DIR`: links named like the compilers, for builds that call `gcc` and nothing else."""

from __future__ import annotations

import os
import re

import typer

from zcc.cli.agent import sibling
from zcc.errors import ConfigError

# gcc, g++-12, clang++-19.1, aarch64-linux-gnu-gcc; not gcc-ar, not c99-gcc (a script that calls gcc).
_COMPILER = re.compile(
    r"(?:\w+(?:-\w+){1,3}-)?(?:gcc|g\+\+|cc|c\+\+|clang|clang\+\+)(?:-\d+(?:\.\d+)*)?"
)
# zcc-masquerade is what links of zcc 0.1's first days led to.
_LAUNCHERS = ("zcc", "zcc++", "zcc-masquerade")
# Not to zcc: ccache refuses a CCACHE_PREFIX=zcc that is the very file which the compiler's name leads to.
_TARGET = "zcc++"


def masquerade(
    directory: str = typer.Argument(metavar="DIR", help="Made if it is not there."),
    compiler: list[str] = typer.Option([], metavar="NAME", help="These; none: all on PATH."),
) -> None:
    """Fill a directory with links to zcc, named like the compilers on PATH.

    Put it first on PATH and every `gcc` is a `zcc gcc`. Running it again brings the links up to date; what
    is in DIR and no such link is left alone.
    """
    directory = os.path.abspath(directory)
    search = [at for at in os.environ.get("PATH", os.defpath).split(":") if at]
    _refuse_strange(compiler, search)
    names = compiler or sorted(filter(_COMPILER.fullmatch, _programs(search)))
    if not names:
        raise ConfigError("no compiler is on PATH: name them (--compiler NAME)")
    os.makedirs(directory, exist_ok=True)
    target = sibling(_TARGET)
    strange = [name for name in names if not _link(os.path.join(directory, name), target)]
    for name in _stale(directory, search):
        os.unlink(os.path.join(directory, name))
    typer.echo(f"# {directory}: {' '.join(name for name in names if name not in strange)}")
    typer.echo(f'export PATH="{directory}:$PATH"')
    if strange:
        raise ConfigError(
            f"left alone in {directory}, since they are no links to zcc: {' '.join(strange)}"
        )


def _refuse_strange(names: list[str], search: list[str]) -> None:
    for name in names:
        if "/" in name or name in _LAUNCHERS:
            raise ConfigError(f"{name}: expected a compiler's plain name, such as gcc-12")
        if not _is_on_path(name, search):
            raise ConfigError(f"{name}: not on PATH, so zcc would have nothing to run")


def _programs(search: list[str]) -> set[str]:
    """The names of all programs on PATH that are not zcc itself."""
    names: set[str] = set()
    for at in search:
        try:
            names.update(name for name in os.listdir(at) if _is_program(os.path.join(at, name)))
        except OSError:
            continue
    return names


def _is_on_path(name: str, search: list[str]) -> bool:
    return any(_is_program(os.path.join(at, name)) for at in search)


def _is_program(path: str) -> bool:
    return os.path.isfile(path) and os.access(path, os.X_OK) and not _leads_to_zcc(path)


def _leads_to_zcc(path: str) -> bool:
    return os.path.basename(os.path.realpath(path)) in _LAUNCHERS


def _is_ours(path: str) -> bool:
    """A link that this command has made; one whose zcc has been uninstalled since, too."""
    return os.path.islink(path) and os.path.basename(os.readlink(path)) in _LAUNCHERS


def _link(path: str, target: str) -> bool:
    """Make the link, or bring it up to date; False when somebody else's file is there."""
    if not os.path.lexists(path):
        os.symlink(target, path)
    elif not _is_ours(path):
        return False
    elif os.readlink(path) != target:
        fresh = f"{path}.{os.getpid()}"
        os.symlink(target, fresh)
        os.replace(fresh, path)
    return True


def _stale(directory: str, search: list[str]) -> list[str]:
    """Links of ours to which no compiler belongs any more: configure scripts would trip over them."""
    return [
        name
        for name in os.listdir(directory)
        if name not in _LAUNCHERS
        and _is_ours(os.path.join(directory, name))
        and not _is_on_path(name, search)
    ]
