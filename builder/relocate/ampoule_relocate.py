"""What makes an installation independent of where it stands. Runs in the sandbox."""

import base64
import concurrent.futures
import csv
import glob
import hashlib
import os
import re
import shutil
import subprocess
import sys

# A script runs with the interpreter beside it, wherever both are, also through a
# link. All of it is in the first line, which Python takes for a comment: what a script
# begins with (its docstring, its __future__ imports, its coding) stays where it was.
# env -S is in coreutils since 8.30 (2018); Linux reads 255 bytes of the line.
SHEBANG = """#!/usr/bin/env -S sh -c 'exec "$(dirname -- "$(realpath -- "$0")")/%s" %s"$0" "$@"'\n"""


def is_elf(path):
    with open(path, "rb") as f:
        return f.read(4) == b"\x7fELF"


def strip(path, debug):
    """Strip an ELF file; its debug information goes to the file debug, which it then names."""
    os.makedirs(os.path.dirname(debug), exist_ok=True)
    mode = os.stat(path).st_mode
    subprocess.run(["objcopy", "--only-keep-debug", path, debug], check=True)
    # Written beside and moved over: the interpreter that runs this may be the file.
    subprocess.run(["strip", "--strip-unneeded", "-o", path + ".new", path], check=True)
    subprocess.run(["objcopy", "--add-gnu-debuglink=" + debug, path + ".new"], check=True)
    os.chmod(path + ".new", mode & 0o777)
    os.replace(path + ".new", path)


# What glibc itself has (see the audit's list) is never carried.
GLIBC = re.compile(r"(lib(c|m|dl|rt|pthread|util|resolv|anl|mvec|BrokenLocale|thread_db)\.so\.|ld-linux)")


def dynamic(path, option):
    """What patchelf prints of a file's dynamic section; nothing when it has none."""
    asked = subprocess.run(["patchelf", option, path], capture_output=True, text=True, check=False)
    return asked.stdout.split("\n") if asked.returncode == 0 else []


def find_carried(path, place):
    """Let a file find the libraries that the tree carries in place, a path relative to its own directory.

    The executable's DT_RPATH serves every module too, but ld.so knows an executable's
    $ORIGIN from /proc only, which a bare chroot lacks; a module's it knows from its
    path. It is DT_RPATH, not DT_RUNPATH: only the former is used for what the file's own
    libraries need, and for what it loads with dlopen(3) (ld.so(8)).
    """
    patch(path, "--force-rpath", "--set-rpath", "$ORIGIN" if place == "." else "$ORIGIN/" + place)


def patch(path, *options):
    """Change a file with patchelf. It may be one that is running."""
    mode = os.stat(path).st_mode
    shutil.copy2(path, path + ".new")
    os.chmod(path + ".new", 0o755)
    subprocess.run(["patchelf", *options, path + ".new"], check=True)
    os.chmod(path + ".new", mode & 0o777)
    os.replace(path + ".new", path)


def keep_own_rpath(path):
    """Leave of a file's RPATH what is relative to the file: the rest names directories of the build."""
    entries = [entry for line in dynamic(path, "--print-rpath") for entry in line.split(":") if entry]
    own = [entry for entry in entries if entry == "$ORIGIN" or entry.startswith("$ORIGIN/")]
    if own != entries:
        patch(path, *(["--set-rpath", ":".join(own)] if own else ["--remove-rpath"]))


def needs_carried(path):
    """Whether a file needs a library that glibc does not have, and says not itself where it is."""
    needed = [name for name in dynamic(path, "--print-needed") if name and not GLIBC.match(name)]
    return bool(needed) and not any(dynamic(path, "--print-rpath"))


def relocate_scripts(bin_dir, built_prefix):
    """Rewrite the first line of each script that names an interpreter below built_prefix."""
    for path in sorted(glob.glob(os.path.join(glob.escape(bin_dir), "*"))):
        if os.path.islink(path) or not os.path.isfile(path) or is_elf(path):
            continue
        with open(path, "rb") as f:
            first, _, rest = f.read().partition(b"\n")
        if first.startswith(b"#!" + os.fsencode(built_prefix) + b"/bin/"):
            interpreter, *options = os.fsdecode(first[2:]).split()
            line = SHEBANG % (os.path.basename(interpreter), "".join(option + " " for option in options))
            with open(path, "wb") as f:
                f.write(os.fsencode(line) + rest)


def record_hash(data):
    """The hash as RECORD spells it (binary distribution format specification)."""
    return "sha256=" + base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()


def fix_records(site_packages):
    """Make each RECORD tell the files as they are now; bytecode is left out of it."""
    for record in sorted(glob.glob(os.path.join(glob.escape(site_packages), "*.dist-info", "RECORD"))):
        rows = []
        with open(record, newline="", encoding="utf-8") as f:
            for name, digest, size in csv.reader(f):
                if "__pycache__/" in name:
                    continue
                if digest:
                    with open(os.path.normpath(os.path.join(site_packages, name)), "rb") as g:
                        data = g.read()
                    digest, size = record_hash(data), str(len(data))
                rows.append((name, digest, size))
        with open(record, "w", newline="", encoding="utf-8") as f:
            csv.writer(f, lineterminator="\n").writerows(sorted(rows))


# How many processes compile a large directory. It is not the number of jobs: which texts of
# a module are interned, and that stands in its bytecode (marshal's flags), depends on
# what the same process has loaded and compiled before.
SHARDS = 8

# Files that are no Python on purpose: test data, templates, other versions.
NO_PYTHON = re.compile(r"bad_coding|badsyntax|lib2to3/tests")


def compile_all(directory, strip, prepend, jobs):
    """Compile a directory to bytecode that is trusted without a look at its source (PEP 552).

    The same files give the same bytecode, whatever jobs is.
    """
    sources = []
    for place, dirs, names in os.walk(directory):
        dirs[:] = [name for name in dirs if name != "__pycache__"]
        paths = (os.path.join(place, name) for name in names if name.endswith(".py"))
        sources += [path for path in paths if not NO_PYTHON.search(path)]
    sources.sort()
    shards = max(1, min(SHARDS, len(sources) // 100))
    with concurrent.futures.ThreadPoolExecutor(int(jobs)) as pool:
        done = [pool.submit(compile_files, sources[i::shards], strip, prepend) for i in range(shards)]
    for future in done:
        future.result()


# Compiles the files that stdin lists. The cache of each is named here, since this process
# is to have no part in caches: what it loads from one has other interned texts than what it
# compiles, and whether one is there already depends on the other processes.
COMPILE = """\
import os, py_compile, sys
strip, prepend = sys.argv[1:]
for path in sys.stdin.read().splitlines():
    directory, name = os.path.split(path)
    cache = os.path.join(directory, "__pycache__", "%s.%s.pyc" % (name[:-3], sys.implementation.cache_tag))
    shown = os.path.join(prepend, os.path.relpath(path, strip))
    try:
        py_compile.compile(path, cache, shown, True, invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH)
    except py_compile.PyCompileError as error:
        # It is no Python that this version knows, and stays without bytecode.
        print(error.msg.rstrip())
"""


def compile_files(sources, strip, prepend):
    """Compile files, in their order, in one process."""
    subprocess.run(
        [sys.executable, "-I", "-B", "-X", "pycache_prefix=/nonexistent", "-c", COMPILE, strip, prepend],
        input="".join(path + "\n" for path in sources), text=True, check=True,
    )
