#!/usr/bin/env python3
"""Writes start.ld anew: the functions that short runs of midge_pub, midge_sub and midge_rr execute.

usage: cargo build --release --bins && src/link/order.py

Needs valgrind, binutils and mosquitto. To be run when tests/bench/oneshot.py finds that midge_pub takes more
memory than it did: functions that are new or have another name are not in the list, and a compiler
that names them otherwise finds none of them.
"""

import collections
import pathlib
import re
import shlex
import socket
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
SCRIPT = ROOT / "src" / "link" / "start.ld"
HEAD = """\
/* The functions that short runs of the tools execute, for build.rs. Written by order.py. */
SECTIONS {
  .text.start : {
"""
TAIL = """\
  }
} INSERT BEFORE .text;
"""


def main():
    known = sections()
    publish, other_publish, other_tools = set(), set(), set()
    with tempfile.TemporaryDirectory() as place, mosquitto(place) as port:
        run = lambda tool, *options: executed(tool, options, known, place)
        here, by_name = (["-h", host, "-p", str(port)] for host in ("127.0.0.1", "localhost"))
        message = ["-t", "t", "-m", "x", "-q"]
        publish |= run("midge_pub", *here, *message, "1")
        other_publish |= run("midge_pub", *by_name, *message, "1")
        for qos in "02":
            other_publish |= run("midge_pub", *here, *message, qos)
        subprocess.run(["mosquitto_pub", *here, "-t", "kept", "-m", "x", "-r"], check=True)
        other_tools |= run("midge_sub", *here, "-t", "kept", "-C", "1")
        hear = shlex.join(["mosquitto_sub", *here, "-t", "ask", "-C", "1"])
        say = shlex.join(["mosquitto_pub", *here, "-t", "answer", "-m", "x"])
        device = subprocess.Popen(["sh", "-c", f"{hear} >/dev/null; {say}"])
        request = ["-t", "ask", "-e", "answer", "-m", "x", "-W", "20", "--no-correlation"]
        other_tools |= run("midge_rr", *here, *request)
        device.wait()
    other_publish -= publish
    other_tools -= publish | other_publish
    # The code that starts a program follows; what is needed most often lies next to that.
    patterns = [*sorted(other_tools), *sorted(other_publish), *sorted(publish)]
    lines = "".join(f"    *(.text*.{pattern})\n" for pattern in patterns)
    SCRIPT.write_text(HEAD + lines + TAIL)
    print(f"{len(patterns)} patterns")


def sections():
    """The names of all functions that have a section."""
    sysroot = subprocess.run(["rustc", "--print=sysroot"], capture_output=True, text=True, check=True)
    places = ROOT / "target" / "release" / "deps", pathlib.Path(sysroot.stdout.strip()) / "lib"
    libraries = [library for place in places for library in place.rglob("*.rlib")]
    readelf = ["readelf", "-SW", *libraries]
    # Not every member of a library is an object.
    listed = subprocess.run(readelf, capture_output=True, text=True, errors="replace").stdout
    return set(re.findall(r"\.text\.(?:unlikely\.)?(\S+)", listed))


def executed(tool, options, known, place):
    """Patterns for the sections of the functions that a run executes."""
    program = ROOT / "target" / "release" / tool
    profile = pathlib.Path(place) / "profile"
    valgrind = ["valgrind", "--tool=callgrind", "--demangle=no", f"--callgrind-out-file={profile}"]
    run = subprocess.run([*valgrind, program, *options], capture_output=True, text=True)
    if run.returncode != 0:
        sys.exit(f"{tool} has failed:\n{run.stderr}")
    # Of a recursive function each depth has an entry.
    names = re.findall(r"^c?fn=\(\d+\) (\w.*?)(?:'\d+)?$", profile.read_text(), re.MULTILINE)
    # Functions with the same code share an address, and the section has the name of one of them.
    places, names_at = {}, collections.defaultdict(list)
    symbols = subprocess.run(["nm", program], capture_output=True, text=True, check=True).stdout
    for address, name in re.findall(r"^(\w+) [tTwW] (\S+)$", symbols, re.MULTILINE):
        places[name] = address
        names_at[address].append(name)
    found = {places[name] for name in names if name in places}
    # Those of the program itself are in no library.
    names = [[name for name in names_at[at] if name in known] or names_at[at] for at in found]
    return {pattern(name) for alike in names for name in alike} - {None}


def pattern(name):
    """What stays of a name in another build; `None` if it is not that of a Rust function."""
    if name.startswith("_ZN"):
        name = re.sub(r"17h[0-9a-f]{16}E.*", "17h", name)
    elif name.startswith("_R"):
        name = re.sub(r"Cs[0-9A-Za-z]+_", "Cs*_", name)
    else:
        return None
    return name.replace("$", "?") + "*"


class mosquitto:
    """A broker on a free port."""

    def __init__(self, place):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.config = pathlib.Path(place) / "mosquitto.conf"
        self.config.write_text(f"listener {self.port}\nallow_anonymous true\n")

    def __enter__(self):
        log = subprocess.DEVNULL
        self.broker = subprocess.Popen(["mosquitto", "-c", self.config], stdout=log, stderr=log)
        for _ in range(100):
            try:
                socket.create_connection(("127.0.0.1", self.port)).close()
                return self.port
            except OSError:
                time.sleep(0.05)
        sys.exit("mosquitto does not start")

    def __exit__(self, *_):
        self.broker.terminate()
        self.broker.wait()


if __name__ == "__main__":
    main()
