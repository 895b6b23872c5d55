"""What truly works in an environment: it is run by the environment's own interpreter.

    environments.py list SITE            what there is to import, as JSON
    environments.py try SITE FILE        imports what FILE lists (the result of list)

list tells the extension modules of each distribution, the packages at the top, and the modules
that its programs call. try imports each in a process of its own: processes are forked along the
names, so that a.b.c is imported after a and a.b, as import does it, and a costs its time once.
A line of JSON for each tells "works", "loads" (importing fails for another reason than the file
itself: the loader takes it) or "fails", and why.
"""

import importlib
import json
import os
import re
import signal
import sys
import time

# How long one import may take, in seconds.
LIMIT = 60


def suffixes():
    import importlib.machinery

    return importlib.machinery.EXTENSION_SUFFIXES


def owners(site):
    """The distribution of each file of SITE, and its tag."""
    import csv

    files, tags = {}, {}
    for info in sorted(os.listdir(site)):
        if not info.endswith(".dist-info"):
            continue
        name, _, version = info[: -len(".dist-info")].partition("-")
        dist = "%s %s" % (re.sub(r"[-_.]+", "-", name).lower(), version)
        try:
            with open(os.path.join(site, info, "WHEEL"), encoding="utf-8", errors="replace") as f:
                tags[dist] = [line[5:].strip() for line in f if line.startswith("Tag: ")]
            with open(os.path.join(site, info, "RECORD"), encoding="utf-8", errors="replace", newline="") as f:
                for row in csv.reader(f):
                    if row:
                        files[os.path.normpath(row[0])] = dist
        except OSError:
            pass
    return files, tags


def native(path, stem):
    """Whether a file has an init function of the name."""
    try:
        with open(path, "rb") as f:
            data = f.read()
    except OSError:
        return False
    return data[:4] == b"\x7fELF" and re.search(rb"\0PyInit_" + re.escape(stem.encode()) + rb"\0", data) is not None


def elf(path):
    try:
        with open(path, "rb") as f:
            return f.read(4) == b"\x7fELF"
    except OSError:
        return False


def packages(site):
    """The names at the top that import finds."""
    for entry in sorted(os.listdir(site)):
        path = os.path.join(site, entry)
        name = entry[:-3] if entry.endswith(".py") else entry
        if name.isidentifier() and (entry.endswith(".py") or os.path.isfile(os.path.join(path, "__init__.py"))):
            yield name


def called(site):
    """The modules that programs call."""
    for info in sorted(os.listdir(site)):
        try:
            with open(os.path.join(site, info, "entry_points.txt"), encoding="utf-8", errors="replace") as f:
                text = f.read()
        except OSError:
            continue
        section = ""
        for line in text.splitlines():
            line = line.strip()
            if line.startswith("["):
                section = line
            elif section == "[console_scripts]" and "=" in line:
                module = line.split("=", 1)[1].split(":")[0].strip().split()[0]
                if all(part.isidentifier() for part in module.split(".")):
                    yield module


def listing(site):
    files, tags = owners(site)
    modules, objects = {}, {}
    for top, dirs, names in os.walk(site):
        dirs.sort()
        for base in sorted(names):
            stem, dot, suffix = base.partition(".")
            if not dot or "so" not in suffix.split("."):
                continue
            path = os.path.join(top, base)
            rel = os.path.relpath(path, site)
            dist = files.get(rel, "")
            if elf(path):
                objects[dist] = objects.get(dist, 0) + 1
            name = ".".join(os.path.dirname(rel).split(os.sep) + [stem]).lstrip(".")
            if not suffix.endswith("so") or not all(part.isidentifier() for part in name.split(".")) or not native(path, stem):
                continue
            # Of several files for one name the one counts that this Python looks for first.
            known = modules.get(name)
            rank = suffixes().index("." + suffix) if "." + suffix in suffixes() else len(suffixes())
            if known is None or rank < known[0]:
                modules[name] = (rank, {"name": name, "kind": "native", "file": rel, "dist": dist})
    things = [m for _, m in modules.values()]
    for kind, names in (("package", packages(site)), ("program", called(site))):
        for name in names:
            if not any(t["name"] == name for t in things):
                things.append({"name": name, "kind": kind, "file": "", "dist": ""})
    programs = sorted({os.path.basename(f) for f in files if os.path.dirname(f) == "../../../bin"})
    print(json.dumps({"things": things, "tags": tags, "objects": objects, "programs": programs}))


def attempt(thing, site):
    """What comes of importing: a word, and why."""
    try:
        importlib.import_module(thing["name"])
        return "works", ""
    except BaseException as error:
        why = "%s: %s" % (type(error).__name__, error)
        missing = isinstance(error, ModuleNotFoundError) and (error.name or "") or ""
    if thing["kind"] != "native":
        return "fails", why
    if missing and (thing["name"] + ".").startswith(missing + "."):
        return "fails", why
    import ctypes

    try:
        ctypes.CDLL(os.path.join(site, thing["file"]), mode=os.RTLD_NOW)
    except OSError as error:
        return "fails", str(error) or why
    return "loads", why


class Node:
    def __init__(self):
        self.children, self.thing = {}, None


def tree(things):
    root = Node()
    for thing in things:
        node = root
        for part in thing["name"].split("."):
            node = node.children.setdefault(part, Node())
        node.thing = thing
    return root


def tell(out, thing, word, why):
    line = json.dumps({"name": thing["name"], "word": word, "why": why[:600]}) + "\n"
    os.write(out, line.encode())


def in_child(work, limit):
    """Runs work in a fork; a signal's number if one ended it, -1 if it took too long."""
    child = os.fork()
    if child == 0:
        try:
            os.setpgid(0, 0)
        except OSError:
            pass
        try:
            work()
        finally:
            os._exit(0)
    deadline = time.monotonic() + limit
    while True:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            return os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0
        if time.monotonic() > deadline:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            return -1
        time.sleep(0.002)


def count(node):
    return (node.thing is not None) + sum(count(c) for c in node.children.values())


def visit(node, name, site, out):
    for part in sorted(node.children):
        child = node.children[part]
        full = name + "." + part if name else part

        def work(child=child, full=full):
            if child.thing is not None:
                tell(out, child.thing, *attempt(child.thing, site))
            else:
                try:
                    importlib.import_module(full)
                except BaseException:
                    pass
            visit(child, full, site, out)

        in_child(work, LIMIT * (1 + count(child) // 8))


def told(path):
    lines = {}
    with open(path, encoding="utf-8", errors="replace") as f:
        for line in f:
            entry = json.loads(line)
            lines[entry["name"]] = entry
    return lines


def trying(site, listed):
    with open(listed, encoding="utf-8") as f:
        things = json.load(f)["things"]
    sys.stdout.flush()
    real = os.dup(1)
    null = os.open(os.devnull, os.O_RDWR)
    for fd in (0, 1, 2):
        os.dup2(null, fd)
    path = "/tmp/told.%d" % os.getpid()
    out = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    visit(tree(things), "", site, out)
    # What a process took with it when it died is tried alone.
    for thing in things:
        if thing["name"] in told(path):
            continue
        ended = in_child(lambda: tell(out, thing, *attempt(thing, site)), LIMIT)
        if thing["name"] not in told(path):
            tell(out, thing, "fails", "it took too long" if ended < 0 else "the process ended with signal %d" % ended)
    with open(path, "rb") as f:
        os.write(real, f.read())
    os.unlink(path)


if __name__ == "__main__":
    if sys.path and sys.path[0] == os.path.dirname(os.path.abspath(__file__)):
        del sys.path[0]
    sys.dont_write_bytecode = False
    if sys.argv[1] == "list":
        listing(sys.argv[2])
    else:
        trying(sys.argv[2], sys.argv[3])
