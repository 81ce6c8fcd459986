"""How the shim is built, and what it needs of the libc that it is loaded beside."""

from __future__ import annotations

import os
import shutil
import subprocess

import pytest

from node import shim
from node.errors import SandboxError
from node.shim import build, find_shim
from tests.conftest import needs
from tests.support.look_up_log import Log, make_log, sources

# What every libc since glibc 2.2.5 and musl 1.0 has, of any symbol version.
FROM_LIBC = {
    "__errno_location", "environ", "mmap", "close", "lseek", "getpid", "malloc", "free",
    "dl_iterate_phdr",
}  # fmt: skip


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> Log:
    return make_log(str(tmp_path_factory.mktemp("shim")))


def copy_sources(target: str) -> None:
    shutil.copytree(
        os.path.dirname(shim.__file__), target, ignore=shutil.ignore_patterns("*.so", "*.py*")
    )


def test_the_library_needs_no_version_of_any_libc(log: Log) -> None:
    assert undefined_in(log.library) <= FROM_LIBC
    needed = subprocess.run(
        ["readelf", "-d", log.library], check=True, capture_output=True, text=True
    ).stdout
    assert "NEEDED" not in needed


@pytest.mark.parametrize("compiler", ["clang", "aarch64-linux-gnu-gcc"])
def test_it_builds_with_other_compilers(log: Log, tmp_path: object, compiler: str) -> None:
    needs(compiler)
    target = f"{tmp_path}/lookups.so"
    build(sources(), target, "-Wall", "-Wextra", "-Werror", compiler=compiler)
    assert undefined_in(target) <= FROM_LIBC


def undefined_in(library: str) -> set[str]:
    shown = subprocess.run(
        ["nm", "-D", "--undefined-only", library], check=True, capture_output=True, text=True
    ).stdout
    assert "@" not in shown
    return {line.split()[-1] for line in shown.splitlines()}


def test_a_missing_library_is_built_once(tmp_path: object, monkeypatch: pytest.MonkeyPatch) -> None:
    only_source = f"{tmp_path}/package"
    copy_sources(only_source)
    monkeypatch.setattr(shim, "__path__", [only_source])
    built = find_shim(f"{tmp_path}/state")
    before = os.stat(built).st_ino
    assert find_shim(f"{tmp_path}/state") == built
    assert os.stat(built).st_ino == before
    assert len(os.listdir(f"{tmp_path}/state")) == 1


def test_an_installed_library_is_taken_as_it_is(
    tmp_path: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    os.mkdir(f"{tmp_path}/package")
    with open(f"{tmp_path}/package/lookups.so", "w"):
        pass
    monkeypatch.setattr(shim, "__path__", [f"{tmp_path}/elsewhere", f"{tmp_path}/package"])
    assert find_shim(f"{tmp_path}/state") == f"{tmp_path}/package/lookups.so"


def test_no_compiler_is_a_clear_error(tmp_path: object, monkeypatch: pytest.MonkeyPatch) -> None:
    copy_sources(f"{tmp_path}/package")
    monkeypatch.setattr(shim, "__path__", [f"{tmp_path}/package"])
    monkeypatch.setenv("PATH", "/nonexistent")
    with pytest.raises(SandboxError, match="needs a C compiler"):
        find_shim(f"{tmp_path}/state")
    monkeypatch.setattr(shim, "__path__", [])
    with pytest.raises(SandboxError, match="reinstall"):
        find_shim(f"{tmp_path}/state")
