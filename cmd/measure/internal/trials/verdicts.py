"""Import every extension module of one distribution below /srv/wheels, each in a process of its
own, and say in one line of JSON which of them do not work: those that cannot be loaded, or
that import does not find by their own name. One that fails for want of another package, or
because it is to be imported after another, works if the loader takes it."""

import importlib
import importlib.machinery
import importlib.metadata
import json
import os
import re
import sys

SITE = "/srv/wheels"
sys.path.insert(0, SITE)
pkg = re.sub(r"[-_.]+", "-", sys.argv[1]).lower()


def attempt(path, name):
    """None when the module works, and otherwise why not."""
    base = os.path.basename(path)
    if base[base.index(".") :] not in importlib.machinery.EXTENSION_SUFFIXES:
        return "import does not look for files that are named %s" % base
    try:
        importlib.import_module(name)
        return None
    except ModuleNotFoundError as error:
        if error.name == name:
            return str(error)
        first = str(error)
    except BaseException as error:
        first = "%s: %s" % (type(error).__name__, error)
    import ctypes

    try:
        ctypes.CDLL(path, mode=os.RTLD_NOW)
    except OSError as error:
        return str(error) or first
    return None


def forked(path, name):
    r, w = os.pipe()
    child = os.fork()
    if child == 0:
        null = os.open(os.devnull, os.O_RDWR)
        for fd in (0, 1, 2):
            os.dup2(null, fd)
        os.write(w, json.dumps(attempt(path, name)).encode()[:4000])
        os._exit(0)
    os.close(w)
    with os.fdopen(r) as f:
        told = f.read()
    _, status = os.waitpid(child, 0)
    return json.loads(told) if told else "the process ended with status %d" % status


modules, broken, file = 0, [], ""
for dist in importlib.metadata.distributions(path=[SITE]):
    if re.sub(r"[-_.]+", "-", dist.metadata["Name"]).lower() != pkg:
        continue
    tags = [line[5:] for line in (dist.read_text("WHEEL") or "").splitlines() if line.startswith("Tag: ")]
    file = "%s-%s-%s.whl" % (dist.metadata["Name"], dist.version, tags[0] if tags else "")
    for entry in dist.files or ():
        path = os.path.join(SITE, str(entry))
        stem, dot, suffix = os.path.basename(path).partition(".")
        if not suffix.endswith("so") or not os.path.isfile(path):
            continue
        with open(path, "rb") as f:
            data = f.read()
        if data[:4] != b"\x7fELF" or not re.search(rb"\0PyInit_" + re.escape(stem.encode()) + rb"\0", data):
            continue
        modules += 1
        name = ".".join(os.path.dirname(str(entry)).split("/") + [stem]).lstrip(".")
        why = forked(path, name)
        if why:
            broken.append("%s: %s" % (name, why))
print()
print(json.dumps({"File": file, "Modules": modules, "Broken": broken}))
