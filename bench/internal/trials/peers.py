"""Starts interpreters in turns, and prints for each what starting took, as a line of JSON.

    python3 peers.py TIMES IMPORTS NAME=PYTHON...
"""

import json
import os
import sys
import time


def start(python, code):
    """Returns the seconds from the start to the end, and the largest resident set in MiB."""
    began = time.perf_counter()
    child = os.posix_spawn(python, [python, "-c", code], {"PATH": os.environ["PATH"], "LANG": "C.UTF-8"})
    _, status, usage = os.wait4(child, 0)
    took = time.perf_counter() - began
    if status:
        sys.exit(f"{python} -c {code!r} ended with status {status}")
    return took, usage.ru_maxrss / 1024


def main(times, imports, *peers):
    found = {}
    for turn in range(int(times) + 1):
        for peer in peers:
            name, python = peer.split("=", 1)
            for what, code in (("python3 -c pass", "pass"), ("import of web's requirements", "import " + imports)):
                took, size = start(python, code)
                # The first start reads files that the others find in memory.
                if turn:
                    found.setdefault(name, {}).setdefault(what + ", seconds", []).append(round(took, 6))
                    found[name].setdefault(what + ", MiB", []).append(round(size, 2))
    for name, values in found.items():
        print(json.dumps({"peer": name, "values": values}))


main(*sys.argv[1:])
