#!/usr/bin/env python3
"""Publishes one message at QoS 1, by midge_pub and by mosquitto_pub in turn, to a mosquitto here.

usage: cargo build --release --bin midge_pub && tests/bench/oneshot.py [--smoke]

Needs GNU time. Exits with 1 if midge_pub takes more memory at its peak than mosquitto_pub, or more
time. A smoke run tolerates a fifth more memory, since the list of src/link ages with each change of
the code and machines differ in how they keep a new file, and any time. Without the list it is 29 %.

What is measured is the linker's output as it lies. A copy of it takes up to 0.5 MB more until it has
left the page cache: Linux keeps what was written at once in large pieces, and maps them whole.
"""

import pathlib
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
MIDGE = ROOT / "target" / "release" / "midge_pub"
TIME = "/usr/bin/time"
ADVICE = """\
midge_pub takes more memory than mosquitto_pub. If it has been linked by mold, link it by another
linker; otherwise see whether src/link/order.py helps.\
"""


def main():
    original, server = shutil.which("mosquitto_pub"), shutil.which("mosquitto")
    if None in (original, server, shutil.which(TIME)) or not MIDGE.exists():
        sys.exit("needs mosquitto, mosquitto_pub, GNU time, and midge_pub built with --release")
    is_smoke = "--smoke" in sys.argv[1:]
    rounds = 11 if is_smoke else 101
    tools = {"mosquitto_pub": original, "midge_pub": MIDGE}
    memory, times = {}, {}
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with tempfile.TemporaryDirectory() as place:
        config = pathlib.Path(place) / "mosquitto.conf"
        config.write_text(f"listener {port} 127.0.0.1\nallow_anonymous true\n")
        quiet = subprocess.DEVNULL
        broker = subprocess.Popen([server, "-c", config], stdout=quiet, stderr=quiet)
        try:
            wait_for(port)
            for host in "127.0.0.1", "localhost":
                message = ["-h", host, "-p", str(port), "-t", "t", "-m", "x", "-q", "1"]
                runs = {name: [] for name in tools}
                for _ in range(rounds):
                    for name, tool in tools.items():
                        runs[name].append(run([tool, *message]))
                for name, taken in runs.items():
                    kib, ms = (statistics.median(values) for values in zip(*taken))
                    memory[host, name], times[host, name] = kib, ms
                    print(f"{host:9} {name:13} median {kib:6.0f} KiB {ms:5.2f} ms  ({rounds} runs)")
        finally:
            broker.terminate()
            broker.wait()
    if is_more(memory, 1.2 if is_smoke else 1):
        sys.exit(ADVICE)
    if is_more(times, 1) and not is_smoke:
        sys.exit("midge_pub takes more time than mosquitto_pub")


def is_more(figures, factor):
    return any(
        figures[host, "midge_pub"] > factor * figures[host, "mosquitto_pub"] for host, _ in figures
    )


def run(command):
    """The memory of a run in KiB and its time in milliseconds."""
    begin = time.perf_counter()
    # What python itself takes would count for a child of its own.
    done = subprocess.run([TIME, "-f", "%M", *command], capture_output=True, text=True, check=True)
    taken = (time.perf_counter() - begin) * 1000
    return int(done.stderr), taken


def wait_for(port):
    for _ in range(100):
        try:
            socket.create_connection(("127.0.0.1", port)).close()
            return
        except OSError:
            time.sleep(0.05)
    sys.exit("mosquitto does not start")


main()
