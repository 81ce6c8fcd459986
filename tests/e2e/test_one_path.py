"""Tools that take one path for a compiler, and no words behind it, get a link that `zcc masquerade` made."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from tests.conftest import needs
from tests.e2e.conftest import Farm
from tests.e2e.test_profiles import remote


@pytest.fixture
def links(farm: Farm, tmp_path: Path) -> Path:
    made = farm.run(
        "zcc", "masquerade", "links", "--compiler", "gcc", "--compiler", "g++", "--compiler", "cc",
        cwd=tmp_path,
    )  # fmt: skip
    assert made.returncode == 0, made.stderr
    return tmp_path / "links"


@pytest.mark.parametrize("named", ["", "g++"])
def test_nvccs_host_compiler(farm: Farm, tmp_path: Path, links: Path, named: str) -> None:
    """Objects of nvcc hold a random name, so that two plain ones differ."""
    needs("nvcc")
    (tmp_path / "a.cu").write_text("__global__ void k(int *a) { *a = 1; }\nint f() { return 1; }\n")
    before = remote(farm)
    command = ("nvcc", "-ccbin", str(links / named), "-c", "a.cu", "-o", "a.o")
    done = farm.run(*command, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert remote(farm) == before + 1
    symbols = subprocess.run(["nm", "-C", tmp_path / "a.o"], capture_output=True, check=True)
    assert b"T f()" in symbols.stdout


GO = """package main

// #include <stdlib.h>
// static int twice(int a) { return 2 * abs(a); }
// int thrice(int);
import "C"
import "fmt"

func main() { fmt.Println(C.twice(-2), C.thrice(3)) }
"""


@pytest.mark.parametrize("named", ["gcc", "zcc gcc", "zcc"])
def test_cgos_compiler(farm: Farm, tmp_path: Path, links: Path, named: str) -> None:
    needs("go")
    compiler = str(links / named) if named == "gcc" else named
    (tmp_path / "go.mod").write_text("module x\ngo 1.19\n")
    (tmp_path / "main.go").write_text(GO)
    (tmp_path / "thrice.c").write_text("int thrice(int a) { return 3 * a; }\n")
    before = remote(farm)
    own = {"GOCACHE": str(tmp_path / "cache"), "GOPROXY": "off", "GOTOOLCHAIN": "local"}
    done = farm.run(
        "go", "build", "-o", "out", ".",
        cwd=tmp_path, strict=True, CC=compiler, CGO_ENABLED="1", HOME=str(tmp_path), **own,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert subprocess.run([tmp_path / "out"], capture_output=True, check=True).stdout == b"4 9\n"
    assert remote(farm) > before


@pytest.mark.parametrize("named", ["cc", "zcc"])
def test_a_build_script_of_cargos(farm: Farm, tmp_path: Path, links: Path, named: str) -> None:
    """The cc crate cannot be had here: this does what it does with CC, in a real build.rs."""
    needs("cargo")
    (tmp_path / "src").mkdir()
    (tmp_path / "Cargo.toml").write_text(
        '[package]\nname = "x"\nversion = "0.1.0"\nedition = "2021"\nbuild = "build.rs"\n'
    )
    (tmp_path / "own.c").write_text("int own(int a) { return a + 1; }\n")
    (tmp_path / "build.rs").write_text(
        "use std::{env, process::Command};\n"
        "fn main() {\n"
        '    let (cc, out) = (env::var("CC").unwrap(), env::var("OUT_DIR").unwrap());\n'
        "    let run = |words: &[&str]|"
        " assert!(Command::new(&cc).args(words).status().unwrap().success());\n"
        '    run(&["-E", "own.c", "-o", "/dev/null"]);\n'
        '    let (library, object) = (format!("{out}/libown.a"), format!("{out}/own.o"));\n'
        '    run(&["-O2", "-ffunction-sections", "-fPIC", "-m64", "-o", &object, "-c", "own.c"]);\n'
        '    assert!(Command::new("ar").args(["cq", &library, &object]).status().unwrap().success());\n'
        '    println!("cargo:rustc-link-lib=static=own\\ncargo:rustc-link-search=native={out}");\n'
        "}\n"
    )
    (tmp_path / "src" / "main.rs").write_text(
        'extern "C" { fn own(a: i32) -> i32; }\nfn main() { println!("{}", unsafe { own(1) }); }\n'
    )
    before = remote(farm)
    done = farm.run(
        "cargo", "run", "--offline", "-q",
        cwd=tmp_path, CC=str(links / named) if named == "cc" else named,
        CARGO_TARGET_DIR=str(tmp_path / "target"),
        RUSTUP_HOME=os.environ.get("RUSTUP_HOME", os.path.expanduser("~/.rustup")),
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (0, b"2\n"), done.stderr
    assert remote(farm) == before + 1
