"""Load extension modules of one distribution, each in a process of its own. Runs in a
runtime target, under the tree's interpreter, which has executed nothing of the tree but its
standard library.

    python3.X -I -S load.py SITE PREFIX MODE [startup] < modules.json

SITE stands on sys.path in the place of site-packages. modules.json is a list of {"File",
"Name", "Packages", "Behind"}; without a file it is any module, and without a name, too, it stands for
all of Packages, which one process imports, as a program would. MODE "view" imports each by its name; "tree" tries the other
ways of loading, too, where that fails. With "startup", each process first does what package
site would do when it starts: .pth files, sitecustomize, usercustomize.

For each attempt, one line of JSON goes to stdout: what was imported or loaded, whether it
worked or ended the process, which files the process had mapped then, and the names of modules
and distributions that were looked for and are nowhere. A line {"Kind": "done"} ends a module's
attempts. The parent imports nothing but the standard library, so that forking is cheap and each child starts
from the same state; it reads from outside what a child has mapped.
"""

import importlib
import json
import os
import re
import select
import site
import sys
import time
import traceback


# How much is told of where an import failed, in characters.
TRACE = 4000
# How long the import of one of a distribution's own packages may take, in seconds.
OWN = 120
# How long one answer may be, in bytes.
ANSWER = 16 << 20


def mapped(process):
    with open("/proc/%s/maps" % process) as f:
        lines = [line.rstrip("\n").split(None, 5) for line in f]
    return sorted({fields[5] for fields in lines if len(fields) == 6 and "/" in fields[5]})


class Missed:
    """The last of all finders: what it is asked for was not found."""

    def __init__(self):
        self.names = set()

    def find_spec(self, name, path=None, target=None):
        self.names.add(name)
        return None

    def find_distributions(self, context=None):
        """Note that a distribution's metadata was looked for, or everybody's ("*")."""
        name = getattr(context, "name", None)
        self.names.add("distribution " + name if isinstance(name, str) else "*")
        return ()


def start():
    """Do what package site does with a directory of distributions when it starts."""
    site.addsitedir(directory)
    for name in ("sitecustomize", "usercustomize"):
        try:
            importlib.import_module(name)
        except ImportError as error:
            if error.name != name:
                raise


def beyond_us(trace):
    """The part of a traceback that is not ours."""
    while trace is not None and trace.tb_frame.f_code.co_filename == __file__:
        trace = trace.tb_next
    return trace


def report_of(work, missed):
    global startup
    try:
        if startup:
            startup = False
            start()
        work()
        report = {"OK": True}
    except BaseException as error:
        report = {"OK": False, "Error": "".join(traceback.format_exception_only(type(error), error)).strip()}
        report["Trace"] = "".join(traceback.format_exception(type(error), error, beyond_us(error.__traceback__)))[-TRACE:]
    missed.names -= {"sitecustomize", "usercustomize"}
    report.update(Mapped=mapped("self"), Missed=sorted(missed.names))
    return report


def answer_all(works, answers, go):
    """Do pieces of work in this process, which is a child; answer each, and wait to be looked at."""
    process = os.getpid()
    missed = Missed()
    sys.meta_path.append(missed)
    for work in works:
        report = report_of(work, missed)
        if os.getpid() != process:
            # The work has doubled the process: one of the two answers.
            os._exit(0)
        text = (json.dumps(report) + "\n").encode()
        while text:
            text = text[os.write(answers, text):]
        # It stays as it is until it was looked at.
        os.read(go, 1)
    os._exit(0)


def hear(answers, child, patience):
    """Read one line; return it, or what there is of it when its process has ended or is late,
    and whether it is late."""
    answer, until = b"", None if patience is None else time.monotonic() + patience
    ended = False
    while not answer.endswith(b"\n") and len(answer) < ANSWER:
        # A process that was left behind may keep the pipe open.
        if not select.select([answers], [], [], 0 if ended else 1)[0]:
            if ended or until is not None and time.monotonic() > until:
                break
            ended = os.waitid(os.P_PID, child, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None
            continue
        # The next line begins when somebody has looked: nothing is read beyond this one.
        more = os.read(answers, 1 << 16)
        if not more:
            break
        answer += more
    return answer.partition(b"\n")[0], until is not None and time.monotonic() > until


def in_child(works, patience):
    """Do pieces of work in one child; yield the report of each, up to the one that ends the child.
    With patience, in seconds for each, one that is late ends the child, too."""
    answer_r, answer_w = os.pipe()
    go_r, go_w = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(answer_r)
        os.close(go_w)
        # What a module prints on import is no part of our answer.
        null = os.open(os.devnull, os.O_RDWR)
        for fd in (0, 1, 2):
            os.dup2(null, fd)
        try:
            answer_all(works, answer_w, go_r)
        finally:
            os._exit(1)
    os.close(answer_w)
    os.close(go_r)
    report, late = {}, False
    for _ in works:
        answer, late = hear(answer_r, child, patience)
        report = understood(answer)
        if report is None:
            break
        try:
            report["Mapped"] = mapped(child)
        except OSError:
            # A process that let nobody look into it has told itself.
            pass
        yield report
        try:
            os.write(go_w, b".")
        except OSError:
            # It has ended since; that there is no further answer tells.
            pass
    os.close(answer_r)
    os.close(go_w)
    if patience is not None:
        os.kill(child, 9)
    _, status = os.waitpid(child, 0)
    if report is None:
        how = "signal %d" % os.WTERMSIG(status) if os.WIFSIGNALED(status) else "exit code %d" % os.WEXITSTATUS(status)
        error = "not done after %d seconds" % patience if late else "the process ended by " + how
        yield {"OK": False, "Ended": True, "Error": error, "Mapped": []}


def attempt(work):
    """Do the work in a child; return its report, or what became of it."""
    [report] = in_child([work], None)
    return report


def understood(answer):
    try:
        report = json.loads(answer.decode())
    except (ValueError, RecursionError):
        return None
    if not isinstance(report, dict):
        return None
    return {key: report[key] for key in ("OK", "Error", "Trace", "Missed", "Mapped") if key in report}


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


def asked_for(others, report):
    """Those of some modules that a failure names, where it is more than a dead process: what
    others than the module's own distribution do in its process counts for nothing else."""
    words = re.findall(r"\w+", str(report.get("Error", "")))
    return [] if report.get("Ended") else [name for name in others or () if name in words]


def import_own(names):
    """Import some modules in one process; yield the name and the report of each. What comes behind
    one that ends the process is imported in the next one."""
    left = list(names)
    while left:
        for report in in_child([lambda name=name: importlib.import_module(name) for name in left], OWN):
            yield left.pop(0), report


def try_own(module, everything):
    """Import a distribution's own packages."""
    for name, report in import_own(module["Packages"]):
        tell("import", report, Module=name, File="")
        if everything and not report["OK"] and (behind := asked_for(module["Behind"], report)):
            tell("import", attempt(lambda: import_behind(behind, name)), Module=name, File="", Behind=behind)


def load(path):
    import ctypes

    ctypes.CDLL(path, mode=os.RTLD_NOW)


def try_all(module, imported):
    """Try every way of loading a module until one works."""
    name, file = module["Name"], module["File"]
    if name:
        report = attempt(lambda: importlib.import_module(name))
        tell("import", report, Module=name, File=file)
        if report["OK"]:
            return
        if behind := asked_for(module["Behind"], report):
            tell("import", attempt(lambda: import_behind(behind, name)), Module=name, File=file, Behind=behind)
    for package in module["Packages"] or ():
        if package not in imported:
            imported.add(package)
            tell("import", attempt(lambda: importlib.import_module(package)), Module=package, File="")
    if file:
        tell("dlopen", attempt(lambda: load(os.path.join(prefix, file))), Module="", File=file)


def main():
    global directory, prefix, startup
    directory, prefix, mode = sys.argv[1:4]
    startup = sys.argv[4:] == ["startup"]
    sys.path.append(directory)
    # Package site gives every interpreter these.
    site.setquit()
    site.setcopyright()
    site.sethelper()
    imported = set()
    for module in json.load(sys.stdin):
        if not module["Name"] and not module["File"]:
            try_own(module, mode == "tree")
        elif mode == "view":
            name = module["Name"]
            tell("import", attempt(lambda: importlib.import_module(name)), Module=name, File=module["File"])
        else:
            try_all(module, imported)
        tell("done", {}, File=module["File"])


main()
