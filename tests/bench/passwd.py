#!/usr/bin/env python3
"""Times `-b` on a file of 100,000 entries: midge_passwd and mosquitto_passwd in turn, same hash.

usage: cargo build --release --bin midge_passwd && tests/bench/passwd.py [DIRECTORY]

DIRECTORY is where the file lies, by default a temporary one; its file system counts, since
midge_passwd syncs what it writes. Exits with 1 if midge_passwd is the slower one.
"""

import os
import pathlib
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

ENTRIES = 100_000
ROUNDS = 15
ROOT = pathlib.Path(__file__).resolve().parents[2]
MIDGE = ROOT / "target" / "release" / "midge_passwd"
# The iterations that mosquitto_passwd 2.0 uses, so that both compute the same.
FORMS = {
    "sha512": ["-H", "sha512"],
    "sha512-pbkdf2": ["-H", "sha512-pbkdf2", "-I", "101"],
}


def main():
    original = shutil.which("mosquitto_passwd")
    if original is None or not MIDGE.exists():
        sys.exit("needs mosquitto_passwd, and midge_passwd built with --release")
    tools = {"mosquitto_passwd": original, "midge_passwd": str(MIDGE)}
    slower = False
    with tempfile.TemporaryDirectory(dir=sys.argv[1] if len(sys.argv) > 1 else None) as place:
        place = pathlib.Path(place)
        for kind, options in FORMS.items():
            template = make_file(original, place, options)
            for what, user in {"add": "newcomer", "update": f"user{ENTRIES // 2}"}.items():
                times = {name: [] for name in tools}
                for _ in range(ROUNDS):
                    for name, tool in tools.items():
                        times[name].append(run(tool, options, template, place / "passwd", user))
                medians = {name: statistics.median(taken) for name, taken in times.items()}
                for name, taken in times.items():
                    print(
                        f"{kind:13} {what:6} {name:16} median {medians[name]:6.1f} ms"
                        f"  min {min(taken):6.1f} ms  ({ROUNDS} runs, {ENTRIES} entries)"
                    )
                slower |= medians["midge_passwd"] > medians["mosquitto_passwd"]
    return 1 if slower else 0


def make_file(original, place, options):
    """One entry by the original, under 100,000 names."""
    path = place / "template"
    subprocess.run([original, *options, "-c", "-b", path, "user", "secret"], check=True)
    entry = path.read_text()
    entry = entry[entry.index(":") :]
    path.write_text("".join(f"user{at}{entry}" for at in range(ENTRIES)))
    os.chmod(path, 0o600)
    return path


def run(tool, options, template, path, user):
    shutil.copy(template, path)
    # What copying has left to write must not fall into the time of the tool.
    os.sync()
    begin = time.perf_counter()
    subprocess.run(
        [tool, *options, "-b", path, user, "secret"], check=True, stdout=subprocess.DEVNULL
    )
    return (time.perf_counter() - begin) * 1000


sys.exit(main())
