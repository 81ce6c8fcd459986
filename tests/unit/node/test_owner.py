"""What a node sees of the machine's owner: numbers of a /proc that was made up, and this very machine."""

from __future__ import annotations

import contextlib
import math
import os
import pty
import subprocess
import sys
import time
import tty
from collections.abc import Iterator
from pathlib import Path

import pytest

from node.core.lending import Lending, LendingMode
from node.errors import NodeError
from node.host import Host
from node.orders import Orders, keep_mode
from node.owner import Owner
from node.sandbox.remains import RunOutcome
from tests.support.sandbox_toolchain import GENTLE, Farm, shared_toolchain
from zcc.messages import Offer

TICKS = os.sysconf("SC_CLK_TCK")


class Machine:
    """A machine of four processors, of which we may use three, made of files."""

    def __init__(self, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1, 2})
        self.root = root
        self.group = root / "group"
        for name in ("proc", "dev/pts", "group"):
            (root / name).mkdir(parents=True)
        self.run(0.0, 0.0)

    def run(self, all_s: float, ours_s: float) -> None:
        """So much has run on each of the processors; so much of that for the node and its jobs, in all."""
        user, nice = round(all_s * TICKS) // 2, round(all_s * TICKS) - round(all_s * TICKS) // 2
        rows = [f"cpu{at} {user} {nice} 0 999999 888888 0 0 777777 55 0" for at in range(4)]
        text = "\n".join(["cpu  1 2 3 4 5 6 7 8 9 10", *rows, "intr 5 6", ""])
        (self.root / "proc/stat").write_text(text)
        usage = f"usage_usec {int(ours_s * 1e6)}\nuser_usec 1\nsystem_usec 1\n"
        (self.group / "cpu.stat").write_text(usage)

    def type(self, name: str, at_s: float) -> None:
        path = self.root / "dev" / name
        path.touch()
        os.utime(path, (at_s, at_s))

    def owner(self) -> Owner:
        return Owner(str(self.group), str(self.root))


class Terminal:
    """A real one, as `/dev/pts/7` of the machine."""

    def __init__(self, machine: Machine) -> None:
        self._master, self._slave = pty.openpty()
        tty.setraw(self._slave)
        self._path = os.ttyname(self._slave)
        (machine.root / "dev/pts/7").symlink_to(self._path)

    def rest(self, for_s: float) -> None:
        os.utime(self._path, (time.time() - for_s, time.time() - for_s))

    def type(self) -> None:
        os.write(self._master, b"x")
        assert os.read(self._slave, 1) == b"x"

    def show(self) -> None:
        os.write(self._slave, b"x")
        assert os.read(self._master, 1) == b"x"

    def close(self) -> None:
        os.close(self._master)
        os.close(self._slave)


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    return Machine(tmp_path, monkeypatch)


def test_what_others_use_is_what_runs_less_what_is_ours(machine: Machine) -> None:
    owner = machine.owner()
    assert owner.processors == 3
    assert owner.look((), 100.0) is None  # the first
    machine.run(all_s=6.0, ours_s=8.0)
    look = owner.look((), 110.0)
    assert look is not None
    assert look.used == pytest.approx((3 * 6.0 - 8.0) / 10)
    assert look.input_age_s == math.inf


def test_what_others_use_is_never_negative_nor_more_than_there_is(machine: Machine) -> None:
    owner = machine.owner()
    owner.look((), 100.0)
    machine.run(all_s=1.0, ours_s=9.0)
    assert (look := owner.look((), 110.0)) is not None
    assert look.used == 0.0
    machine.run(all_s=100.0, ours_s=9.0)
    assert (look := owner.look((), 120.0)) is not None
    assert look.used == 3.0


def test_two_looks_in_one_moment_say_nothing(machine: Machine) -> None:
    owner = machine.owner()
    owner.look((), 100.0)
    assert owner.look((), 100.1) is None
    assert owner.look((), 101.0) is not None
    owner.forget()
    assert owner.look((), 200.0) is None


@pytest.fixture
def terminal(machine: Machine) -> Iterator[Terminal]:
    terminal = Terminal(machine)
    yield terminal
    terminal.close()


def test_typing_is_seen_at_a_terminal(machine: Machine, terminal: Terminal) -> None:
    """At a real one: what the kernel does to its times is the point."""
    machine.type("tty1", time.time() - 600)
    terminal.rest(40)
    owner = machine.owner()
    owner.look((), 100.0)
    assert (look := owner.look((), 110.0)) is not None
    assert look.input_age_s == pytest.approx(50, abs=2)
    terminal.type()
    assert (look := owner.look((), 120.0)) is not None
    assert look.input_age_s == 0.0
    assert (look := owner.look((), 130.0)) is not None
    assert look.input_age_s == 10.0


def test_what_is_shown_at_a_terminal_is_not_typed(machine: Machine, terminal: Terminal) -> None:
    terminal.rest(4000)
    owner = machine.owner()
    owner.look((), 100.0)
    terminal.show()
    assert (look := owner.look((), 110.0)) is not None
    assert look.input_age_s > 4000


def test_a_new_terminal_is_perhaps_a_jobs_and_nobody_has_typed_there(machine: Machine) -> None:
    machine.type("pts/0", time.time() - 4000)
    owner = machine.owner()
    owner.look((), 100.0)
    for number, name in enumerate(("pts/1", "pts/2", "pts/1")):
        (machine.root / "dev" / name).unlink(missing_ok=True)
        machine.type(name, time.time() + number)
        assert (look := owner.look((), 110.0 + number)) is not None
        assert look.input_age_s > 4000


def test_a_clock_that_was_set_is_nobodys_typing(machine: Machine) -> None:
    machine.type("tty1", time.time() + 86400)
    owner = machine.owner()
    owner.look((), 100.0)
    assert (look := owner.look((), 110.0)) is not None
    assert look.input_age_s == 10.0


def test_a_machine_that_shows_nothing_can_only_be_dedicated_or_off(tmp_path: Path) -> None:
    with pytest.raises(NodeError, match="--mode dedicated or off is all that can be done here"):
        Owner("", str(tmp_path / "nothing"))


# ---- this very machine ----------------------------------------------------------------------------

BURN = "import time\nend = time.monotonic() + 60\nwhile time.monotonic() < end: pass"


def test_what_this_process_and_its_children_run_is_ours() -> None:
    """Whatever else this machine does: what our own child has burnt is seen as ours when it is over."""
    owner = Owner()
    before = owner._own_s(())
    child = subprocess.Popen([sys.executable, "-c", BURN])
    time.sleep(1.0)
    child.kill()
    _, _, usage = os.wait4(child.pid, 0)
    child.returncode = -9
    burnt_s = usage.ru_utime + usage.ru_stime
    assert burnt_s > 0.05
    assert owner._own_s(()) - before >= burnt_s - 0.02


def test_a_strangers_work_is_the_owners() -> None:
    owner = Owner()
    owner.look((), time.monotonic())
    burners = [subprocess.Popen([sys.executable, "-c", BURN]) for _ in range(2)]
    try:
        time.sleep(1.5)
        look = owner.look((), time.monotonic())
    finally:
        for burner in burners:
            burner.kill()
            burner.wait()
    # They are this process's children, and live: only what is buried or lies in a sandbox is ours.
    assert look is not None
    assert 0.3 < look.used <= owner.processors


@pytest.fixture
def real_group() -> Iterator[Path]:
    """A control group of version 2."""
    for tree in ("/sys/fs/cgroup", "/sys/fs/cgroup/unified"):
        group = Path(tree, f"zcc-test-{os.getpid()}")
        with contextlib.suppress(OSError):
            group.mkdir()
            try:
                if (group / "cpu.stat").exists():
                    yield group
                    return
            finally:
                group.rmdir()
    pytest.skip("no control group of version 2 can be made here")


def test_what_runs_in_the_nodes_group_is_ours(real_group: Path) -> None:
    owner = Owner(str(real_group))
    before = owner._own_s(())
    with subprocess.Popen([sys.executable, "-c", BURN]) as burner:
        (real_group / "cgroup.procs").write_text(str(burner.pid))
        time.sleep(1.0)
        assert owner._own_s(()) - before > 0.02
        burner.kill()


def test_what_runs_in_a_sandbox_is_ours_while_it_lives_and_afterwards(tmp_path: Path) -> None:
    farm = Farm(str(tmp_path), shared_toolchain())
    os.mkdir(tmp_path / "p")
    job = farm.python(BURN.replace("60", "1.5"), os.fsencode(tmp_path / "p"))
    farm.tree.fit(job.manifest)
    owner = Owner()
    before = owner._own_s(())
    run = farm.runner.prepare(
        job, farm.toolchain, farm.tree.root, scratch=farm.directory + b"/scratch", limits=GENTLE
    )
    done = farm.loop.run_in_executor(farm.workers, run.carry_out)
    seen: list[tuple[float, float]] = []

    def look() -> None:
        seen.append((owner._own_s([run.first_process]), owner._own_s(())))

    farm.loop.call_later(1.2, look)
    outcome = farm.loop.run_until_complete(done)
    farm.close()
    assert isinstance(outcome, RunOutcome), outcome
    with_sandbox, without = seen[0]
    assert with_sandbox - without > 0.05
    assert owner._own_s(()) - before >= outcome.usage.cpu_s - 0.02


# ---- together -------------------------------------------------------------------------------------


def host(machine: Machine, mode: LendingMode, orders: Orders | None = None) -> Host:
    return Host(Lending(3, 3, idle_after_s=300), mode, orders, machine.owner)


def test_a_host_lends_what_its_owner_leaves(machine: Machine) -> None:
    here = host(machine, LendingMode.PROPORTIONAL)
    assert here.offer(99.0).slots == 0
    assert here.look((), 100.0)[0].slots == 0
    machine.run(all_s=6.0, ours_s=0.0)
    offer, wants_leave = here.look((), 110.0)
    assert offer == Offer(1, "proportional", "others leave 1 of 3 processors")
    assert not wants_leave


def test_a_host_follows_its_orders(machine: Machine, tmp_path: Path) -> None:
    state = tmp_path / "state"
    state.mkdir()
    orders = Orders(str(state))
    here = host(machine, LendingMode.DEDICATED, orders)
    assert here.look((), 100.0) == (Offer(3, "dedicated", ""), False)
    keep_mode(str(state), LendingMode.OFF)
    assert here.look((), 101.0)[0].slots == 0
    keep_mode(str(state), LendingMode.IDLE)
    assert here.look((), 102.0)[0].why == "it looks first what else this machine does"
    assert here.look((), 103.0)[0] == Offer(3, "idle", "")
    (state / "drain").touch()
    assert here.look((), 104.0) == (Offer(3, "idle", ""), True)


def test_a_mode_that_this_machine_cannot_keep_is_told_and_not_taken(
    machine: Machine, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    orders = Orders(str(tmp_path))
    here = host(machine, LendingMode.DEDICATED, orders)
    (machine.root / "proc/stat").unlink()
    keep_mode(str(tmp_path), LendingMode.IDLE)
    assert here.look((), 100.0)[0] == Offer(3, "dedicated", "")
    assert "the mode stays dedicated" in caplog.text
