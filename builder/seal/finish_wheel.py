"""Finish the files of one wheel: search paths of ELF files, and bytecode.

Run in the sandbox:  python3.X -I -S -B finish_wheel.py PREFIX JOBS

Reads job.json beside itself and changes tree/, laid out as PREFIX is, which has no other
files than those to finish. Nothing of the wheel runs: patchelf and the compiler read its
files. The sandbox has no other wheel's, and what made the tree looks at what comes back.
"""

import json
import os
import resource
import subprocess
import sys

here = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, here)
import ampoule_relocate

TREE = os.path.join(here, "tree")

# What one process may compute, in seconds: the largest wheels known take a minute.
MAX_CPU = 900


def compile_wheel(site_packages, prefix, jobs):
    try:
        ampoule_relocate.compile_all(site_packages, TREE, prefix, jobs)
    except subprocess.CalledProcessError as error:
        raise SystemExit("the compiler ended with %s, at: %s" % (error.returncode, ", ".join(culprits(site_packages, prefix)) or "all files together"))


def culprits(site_packages, prefix):
    """Find the files that end the compiler's process each by itself."""
    found = []
    for place, _, names in os.walk(site_packages):
        for path in sorted(os.path.join(place, name) for name in names if name.endswith(".py")):
            try:
                ampoule_relocate.compile_files([path], TREE, prefix)
            except subprocess.CalledProcessError:
                found.append(os.path.relpath(path, site_packages))
    return found


def main():
    prefix, jobs = sys.argv[1:]
    resource.setrlimit(resource.RLIMIT_CPU, (MAX_CPU, MAX_CPU))
    with open(os.path.join(here, "job.json"), encoding="utf-8") as f:
        job = json.load(f)
    for patch in job["patches"]:
        ampoule_relocate.patch(os.path.join(TREE, patch["file"]), "--force-rpath", "--set-rpath", patch["rpath"])
    if job["compile"]:
        compile_wheel(os.path.join(TREE, job["site"]), prefix, jobs)


if __name__ == "__main__":
    main()
