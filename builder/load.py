"""Load every extension module of a tree, each in a process of its own. Runs in a
runtime target, under the tree's interpreter, with PATH, HOME and LANG alone.

    python3.X -I load.py PREFIX < modules.json

modules.json is a list of {"File", "Name", "Packages", "Behind"}. For each, one line of JSON goes
to stdout: what was imported or loaded, whether it worked, which files the process had
mapped then, and what decided it: the files of the tree that it imported, and the modules
that it looked for and did not find. The parent imports nothing of the tree beyond what this
needs, so that forking is cheap and each child starts from the same state.
"""

import importlib
import json
import os
import select
import signal
import sys
import traceback


# How long one module may take, in seconds.
PATIENCE = 300


def mapped():
    with open("/proc/self/maps") as f:
        return sorted({line.split(None, 5)[5].rstrip("\n") for line in f if line.count("/") and len(line.split(None, 5)) == 6})


class Missed:
    """The last of all finders: what it is asked for was not found."""

    def __init__(self):
        self.names = set()

    def find_spec(self, name, path=None, target=None):
        self.names.add(name)
        return None


def imported_files():
    """The tree's files that modules came from, relative to it."""
    start = os.path.join(prefix, "")
    files = (getattr(module, "__file__", None) for module in list(sys.modules.values()))
    return sorted({file[len(start):] for file in files if isinstance(file, str) and file.startswith(start)})


def attempt(work):
    """Do the work in a child; return its report, or what became of it."""
    r, w = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(r)
        # What a module prints on import is no part of our answer.
        null = os.open(os.devnull, os.O_RDWR)
        for fd in (0, 1, 2):
            os.dup2(null, fd)
        missed = Missed()
        sys.meta_path.append(missed)
        try:
            work()
            report = {"OK": True}
        except BaseException as error:
            report = {"OK": False, "Error": "".join(traceback.format_exception_only(type(error), error)).strip()}
        report.update(Mapped=mapped(), Imported=imported_files(), Missed=sorted(missed.names))
        with os.fdopen(w, "w") as f:
            json.dump(report, f)
        os._exit(0)
    os.close(w)
    if not select.select([r], [], [], PATIENCE)[0]:
        os.kill(child, signal.SIGKILL)
    with os.fdopen(r) as f:
        answer = f.read()
    _, status = os.waitpid(child, 0)
    if answer:
        return json.loads(answer)
    how = "signal %d" % os.WTERMSIG(status) if os.WIFSIGNALED(status) else "exit code %d" % os.WEXITSTATUS(status)
    return {"OK": False, "Error": "the process ended by " + how, "Mapped": []}


def tell(kind, report, **what):
    print(json.dumps(dict(report, Kind=kind, **what)), flush=True)


def import_behind(others, name):
    """Import a module as what requires it would: with that imported before it."""
    for other in others:
        try:
            importlib.import_module(other)
        except BaseException:
            # It has a report of its own, where it has modules that must load.
            pass
    importlib.import_module(name)


def load(path):
    import ctypes

    ctypes.CDLL(path, mode=os.RTLD_NOW)


def main():
    global prefix
    (prefix,) = sys.argv[1:]
    imported = {}
    for module in json.load(sys.stdin):
        path = os.path.join(prefix, module["File"])
        name = module["Name"]
        if name:
            report = attempt(lambda: importlib.import_module(name))
            tell("import", report, Module=name, File=module["File"])
            if report["OK"]:
                continue
            if behind := module["Behind"]:
                report = attempt(lambda: import_behind(behind, name))
                tell("import", report, Module=name, File=module["File"], Behind=behind)
                if report["OK"]:
                    continue
        for package in module["Packages"] or ():
            if package not in imported:
                imported[package] = True
                tell("import", attempt(lambda: importlib.import_module(package)), Module=package, File="")
        tell("dlopen", attempt(lambda: load(path)), Module="", File=module["File"])


main()
