"""Install each of some wheels into an empty tree of its own, as the interpreter does.

Run in the sandbox:  python3.X -I install.py PREFIX JOBS

Reads wheels/NUMBER/*.whl beside itself and writes trees/NUMBER/, laid out as PREFIX is.
Nothing is downloaded, resolved or compiled from C.
"""

import glob
import multiprocessing
import os
import sys
import sysconfig

here = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, here)
import ampoule_relocate


def run_pip(*args):
    """Run the pip that the interpreter brings. It is loaded once, before the workers fork."""
    from pip._internal.cli.main import main

    if main(list(args)):
        raise SystemExit("pip cannot install the wheel")


def find_carried(path, lib):
    """Let an ELF file find in the tree's lib what it does not find by its own RPATH.

    What is built here was given that before it was packed, unless it has an RPATH of its
    own; published wheels have theirs, and ld.so then looks nowhere else (ld.so(8)).
    """
    if os.path.islink(path) or not ampoule_relocate.is_elf(path):
        return
    needed = [name for name in ampoule_relocate.dynamic(path, "--print-needed") if name and not ampoule_relocate.GLIBC.match(name)]
    own = [entry for line in ampoule_relocate.dynamic(path, "--print-rpath") for entry in line.split(":") if entry]
    origin = os.path.dirname(path)
    places = [os.path.normpath(entry.replace("$ORIGIN", origin).replace("${ORIGIN}", origin)) for entry in own]
    if lib in places or all(any(os.path.exists(os.path.join(place, name)) for place in places) for name in needed):
        return
    place = os.path.relpath(lib, origin)
    ampoule_relocate.patch(path, "--force-rpath", "--set-rpath", ":".join([*own, "$ORIGIN" if place == "." else "$ORIGIN/" + place]))


def install(number):
    (wheel,) = glob.glob(os.path.join(here, "wheels", number, "*.whl"))
    out = os.path.join(here, "trees", number)
    run_pip(
        "install", "--prefix", out, "--ignore-installed", "--no-index", "--no-deps", "--no-compile", "--no-cache-dir",
        "--disable-pip-version-check", "--no-warn-script-location", "--root-user-action=ignore", wheel,
    )
    site_packages = os.path.join(out, os.path.relpath(sysconfig.get_path("purelib"), prefix))
    for path in glob.glob(os.path.join(site_packages, "*.dist-info", "direct_url.json")):
        # It would tell where the wheel lay while it was installed (PEP 610).
        os.unlink(path)
        record = os.path.join(os.path.dirname(path), "RECORD")
        with open(record, encoding="utf-8") as f:
            rows = [row for row in f if ".dist-info/direct_url.json," not in row]
        with open(record, "w", encoding="utf-8", newline="\n") as f:
            f.writelines(rows)
    for directory, _, names in os.walk(out):
        for name in names:
            find_carried(os.path.join(directory, name), os.path.join(out, "lib"))
    ampoule_relocate.relocate_scripts(os.path.join(out, "bin"), prefix)
    ampoule_relocate.fix_records(site_packages)
    ampoule_relocate.compile_all(site_packages, out, prefix, "1")


def main():
    global prefix
    prefix, jobs = sys.argv[1:]
    if not os.path.isdir(os.path.join(sysconfig.get_path("purelib"), "pip")):
        # It was configured without installing pip, and brings the archive only.
        (bundled,) = glob.glob(os.path.join(sysconfig.get_path("stdlib"), "ensurepip", "_bundled", "pip-*.whl"))
        sys.path.insert(0, bundled)
    import pip._internal.commands.install  # noqa: F401

    numbers = sorted(os.listdir(os.path.join(here, "wheels")))
    # pip keeps state in its modules: each wheel gets a process of its own.
    with multiprocessing.get_context("fork").Pool(int(jobs), maxtasksperchild=1) as workers:
        workers.map(install, numbers, chunksize=1)


if __name__ == "__main__":
    main()
