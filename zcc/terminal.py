"""A pseudo-terminal in place of the client's terminal, for colours and widths as there."""

from __future__ import annotations

import fcntl
import os
import pty
import struct
import termios

from zcc.job import Terminal

_END_OF_INPUT = b"\x04"
_MAX_SIZE = 0xFFFF


def open_terminal(terminal: Terminal) -> tuple[int, int]:
    """(master, slave): nothing changes what is written to the slave, who reads from it finds its end.

    The slave is for stdin too: that is where gcc asks for the width. The master does not block.
    """
    master, slave = pty.openpty()
    mode = termios.tcgetattr(slave)
    mode[1] &= ~termios.OPOST
    mode[3] &= ~termios.ECHO
    termios.tcsetattr(slave, termios.TCSANOW, mode)
    rows, columns = min(terminal.rows, _MAX_SIZE), min(terminal.columns, _MAX_SIZE)
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
    os.set_blocking(master, False)
    os.write(master, _END_OF_INPUT)
    return master, slave
