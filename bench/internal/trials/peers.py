"""Starts interpreters in turns, and prints for each what starting took and has in memory, as a line of JSON.

    python3 peers.py TIMES IMPORTS NAME=PYTHON...
"""

import json
import os
import subprocess
import sys
import time


ENV = {"PATH": os.environ["PATH"], "LANG": "C.UTF-8"}


def start(python, code):
    """Returns the seconds from the start to the end."""
    began = time.perf_counter()
    child = os.posix_spawn(python, [python, "-c", code], ENV)
    _, status = os.waitpid(child, 0)
    took = time.perf_counter() - began
    if status:
        sys.exit(f"{python} -c {code!r} ended with status {status}")
    return round(took, 6)


def memory(python, code):
    """Returns the MiB that are resident when code is done, and those of them that the process has written.

    The process tells that itself: getrusage(2) counts what was there before execve(2), too.
    """
    code += "; print(open('/proc/self/smaps_rollup').read())"
    told = subprocess.run([python, "-c", code], env=ENV, stdout=subprocess.PIPE, text=True, check=True).stdout
    sizes = dict(line.split(":", 1) for line in told.splitlines()[1:] if ":" in line)
    return [round(int(sizes[name].split()[0]) / 1024, 2) for name in ("Rss", "Private_Dirty")]


def main(times, imports, *peers):
    found = {}
    for turn in range(int(times) + 1):
        for peer in peers:
            name, python = peer.split("=", 1)
            for what, code in (("python3 -c pass", "pass"), ("import of web's requirements", "import " + imports)):
                took = start(python, code)
                resident, written = memory(python, code)
                # The first start reads files that the others find in memory.
                if turn:
                    for unit, value in ((", seconds", took), (", MiB resident", resident), (", MiB written", written)):
                        found.setdefault(name, {}).setdefault(what + unit, []).append(value)
    for name, values in found.items():
        print(json.dumps({"peer": name, "values": values}))


main(*sys.argv[1:])
