"""Make an installed CPython relocatable, stripped and the same on every machine.

Run by the interpreter itself, in the sandbox, after `make install`:

    python3.X -I -S finish.py PREFIX BUILD_DIR DEBUG_DIR JOBS

What only runs in a test suite or only links a new interpreter is removed. ELF files
are stripped, their debug information kept in DEBUG_DIR. Whatever names PREFIX
computes it from where it stands from then on; nothing names BUILD_DIR any more.
"""

import glob
import importlib
import json
import os
import re
import shutil
import subprocess
import sys
import sysconfig

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import ampoule_relocate

prefix, build_dir, debug_dir, jobs = sys.argv[1:]
version = "%d.%d" % sys.version_info[:2]
library = os.path.dirname(os.__file__)

RELOCATE = '''
import os as _os

_prefix = _os.path.dirname(_os.path.dirname(_os.path.dirname(_os.path.abspath(__file__))))
build_time_vars = {
    name: value.replace(%(prefix)r, _prefix) if isinstance(value, str) else value
    for name, value in build_time_vars.items()
}
build_time_vars["TZPATH"] = _os.pathsep.join(
    filter(None, (build_time_vars.get("TZPATH"), _os.path.join(_prefix, "share", "zoneinfo")))
)
'''

def read(path):
    with open(path, encoding="utf-8") as f:
        return f.read()


def write(path, text):
    with open(path, "w", encoding="utf-8", newline="\n") as f:
        f.write(text)


def remove(path):
    if os.path.isdir(path) and not os.path.islink(path):
        shutil.rmtree(path)
    elif os.path.lexists(path):
        os.unlink(path)


def files():
    for directory, names, found in os.walk(prefix):
        names.sort()
        for name in sorted(found):
            path = os.path.join(directory, name)
            if not os.path.islink(path):
                yield path


def prune():
    for pattern in (
        "lib-dynload/_test*", "lib-dynload/_ctypes_test*", "lib-dynload/_xxtestfuzz*", "lib-dynload/xx*",
        "test", "*/test", "*/tests", "*/idle_test", "distutils/tests", "lib2to3/tests",
        "config-*/*.a", "config-*/*.o",
    ):
        for path in glob.glob(os.path.join(library, pattern)):
            if not path.startswith(os.path.join(library, "site-packages")):
                remove(path)
    for path in glob.glob(os.path.join(prefix, "lib", "*.a")):
        remove(path)
    for directory, names, _ in os.walk(prefix):
        if "__pycache__" in names:
            shutil.rmtree(os.path.join(directory, "__pycache__"))
            names.remove("__pycache__")


def relocate_sysconfig():
    for path in glob.glob(os.path.join(library, "_sysconfigdata_*.py")):
        write(path, read(path).replace(build_dir, ".") + RELOCATE % {"prefix": prefix})
    for path in glob.glob(os.path.join(library, "_sysconfig_vars_*.json")):
        # Computed by sysconfig where it is used; the file is for other programs and
        # has no way to say "where I stand": it is left out rather than wrong.
        remove(path)
    for path in glob.glob(os.path.join(library, "config-*", "python-config.py")):
        write(path, re.sub(r"^#!.*", "#!/usr/bin/env python3", read(path)))
    for path in glob.glob(os.path.join(library, "config-*", "Makefile")):
        up = os.path.relpath(prefix, os.path.dirname(path))
        text = read(path).replace(build_dir, ".")
        text = re.sub(
            r"(?m)^prefix=.*$", lambda _: "prefix=\t$(abspath $(dir $(lastword $(MAKEFILE_LIST)))/%s)" % up, text, count=1
        )
        write(path, text.replace(prefix, "$(prefix)"))


def relocate_pkgconfig():
    if not glob.glob(os.path.join(glob.escape(prefix), "lib", "libpython*.so*")):
        # There is no library to embed: nothing may promise one.
        for path in glob.glob(os.path.join(glob.escape(prefix), "lib", "pkgconfig", "*-embed.pc")):
            remove(path)
    for path in glob.glob(os.path.join(prefix, "lib", "pkgconfig", "*.pc")):
        if not os.path.islink(path):
            text = read(path).replace(build_dir, ".")
            text = re.sub(r"(?m)^prefix=.*$", "prefix=${pcfiledir}/../..", text)
            write(path, text.replace(prefix, "${prefix}"))


def relocate_build_details():
    """PEP 739: paths may be relative to base_prefix, and that to the file itself."""
    path = os.path.join(library, "build-details.json")
    if not os.path.exists(path):
        return
    details = json.loads(read(path))

    def walk(value):
        if isinstance(value, dict):
            return {k: walk(v) for k, v in value.items()}
        if isinstance(value, list):
            return [walk(v) for v in value]
        if isinstance(value, str) and (value == prefix or value.startswith(prefix + "/")):
            return os.path.relpath(value, prefix)
        return value

    details = walk(details)
    details["base_prefix"] = os.path.relpath(prefix, library)
    write(path, json.dumps(details, indent=2, sort_keys=True) + "\n")


def finish_scripts():
    bin_dir = os.path.join(prefix, "bin")
    ampoule_relocate.relocate_scripts(bin_dir, prefix)
    for path in glob.glob(os.path.join(bin_dir, "python*-config")):
        write(path, read(path).replace(build_dir, "."))
    if not os.path.lexists(os.path.join(bin_dir, "python")):
        os.symlink("python" + version, os.path.join(bin_dir, "python"))


def modules():
    """Tell which standard extension modules configure wanted, and which of them work."""
    states = {}
    for name, value in sorted(sysconfig.get_config_vars().items()):
        found = re.fullmatch(r"MODULE_(\w+)_STATE", name)
        if not found:
            continue
        module = found.group(1).lower()
        if value == "yes" and not re.match(r"_test|_ctypes_test|_xx|xx", module):
            try:
                importlib.import_module(module)
            except ImportError as error:
                value = "broken: %s" % error
        states[module] = value
    return states


states = modules()
prune()
for path in [p for p in files() if ampoule_relocate.is_elf(p)]:
    ampoule_relocate.strip(path, os.path.join(debug_dir, os.path.relpath(path, prefix) + ".debug"))
    ampoule_relocate.find_carried(path, os.path.relpath(os.path.join(prefix, "lib"), os.path.dirname(path)))
relocate_sysconfig()
relocate_pkgconfig()
relocate_build_details()
finish_scripts()
ampoule_relocate.fix_records(os.path.join(library, "site-packages"))
ampoule_relocate.compile_all(library, prefix, prefix, jobs)
print(json.dumps({"modules": states}))
