"""Runs modules of CPython's own tests, each in a process of its own, with every resource that needs no network.

    python3 cpython_tests.py NAME...

What came of each is a line of JSON on stdout, in the order in which they end. One that fails is run once more when
all have ended, alone, and what it says then counts. Without a name it lists all. It is called as root, and runs the tests as nobody.
"""

import compileall
import concurrent.futures
import importlib.metadata
import json
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import time
import xml.etree.ElementTree

RESOURCES = "all,-network,-urlfetch"
USER = "nobody"
# Seconds: of one test, after which it tells where it hangs, and of one module.
TEST_LIMIT, MODULE_LIMIT = 900, 1800


def put_back():
    """Moves tests that were installed as a distribution to where CPython's own installation has them.

    Tests look for modules beside themselves, and import them by python3 -S.
    """
    try:
        files = importlib.metadata.files("cpython-tests")
    except importlib.metadata.PackageNotFoundError:
        return
    library = sysconfig.get_path("stdlib")
    for file in files:
        if ".dist-info" not in file.parts[0] and "__pycache__" not in file.parts:
            to = os.path.join(library, "lib-dynload" if file.suffix == ".so" else "", file)
            os.makedirs(os.path.dirname(to), exist_ok=True)
            shutil.move(file.locate(), to)
    for left in {file.parts[0] for file in files if len(file.parts) > 1 and ".dist-info" not in file.parts[0]}:
        shutil.rmtree(os.path.join(sysconfig.get_path("platlib"), left))
    compileall.compile_dir(os.path.join(library, "test"), quiet=2, workers=0)


def run(name):
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as work:
        shutil.chown(work, USER)
        report = os.path.join(work, "report.xml")
        command = [sys.executable, "-m", "test", "-u", RESOURCES, "-W", "--timeout", str(TEST_LIMIT), "--junit-xml", report, name]
        env = {k: v for k, v in os.environ.items() if k != "USER"}
        env |= {"HOME": work, "TERM": "xterm", "PATH": os.path.dirname(sys.executable) + os.pathsep + os.environ["PATH"]}
        try:
            ended = subprocess.run(
                command,
                cwd=work,
                env=env,
                user=USER,
                group="nogroup",
                extra_groups=(),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                timeout=MODULE_LIMIT,
            )
            result = judge(ended.returncode, ended.stdout.decode(errors="replace"), report)
        except subprocess.TimeoutExpired:
            result = {"result": "failed", "failed": [f"{name} takes more than {MODULE_LIMIT} s"]}
    return {"test": name, **result, "seconds": round(time.monotonic() - began, 1)}


def judge(code, text, report):
    whole = re.search(r"^\S+ skipped(?: -- (.*)| \((.*)\))?$", text, re.MULTILINE)
    if whole:
        return {"result": "skipped", "skipped": {whole[1] or whole[2] or "no reason given": 1}}
    failed, skipped = cases(report)
    if code == 0:
        return {"result": "passed", "skipped": skipped}
    if code == 4 and not failed:
        return {"result": "skipped", "skipped": skipped}
    return {"result": "failed", "failed": sorted({*failed, *told(text)}) or [last_line(text)], "skipped": skipped}


def cases(report):
    """Reads what failed and why others were skipped. A report that is not there has neither."""
    failed, skipped = [], {}
    try:
        tree = xml.etree.ElementTree.parse(report)
    except (OSError, xml.etree.ElementTree.ParseError):
        return failed, skipped
    for case in tree.iter("testcase"):
        if case.find("failure") is not None or case.find("error") is not None:
            failed.append(case.get("name"))
        reason = case.find("skipped")
        if reason is not None:
            text = (reason.text or "no reason given").strip()
            skipped[text] = skipped.get(text, 0) + 1
    return sorted(set(failed)), skipped


def told(text):
    """Reads what unittest prints of failures: reports do not have those of subtests."""
    return sorted({where + what for where, what in re.findall(r"^(?:ERROR|FAIL): \S+ \((\S+)\)(.*)$", text, re.MULTILINE)})


def last_line(text):
    return ([line for line in text.splitlines() if line.strip()] or ["it says nothing"])[-1]


def main(names):
    put_back()
    if not names:
        os.execv(sys.executable, [sys.executable, "-m", "test", "--list-tests", "-u", RESOURCES])
    again = []
    with concurrent.futures.ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        for done in concurrent.futures.as_completed([pool.submit(run, name) for name in names]):
            result = done.result()
            if result["result"] == "failed":
                again.append(result["test"])
            else:
                print(json.dumps(result, sort_keys=True), flush=True)
    for name in again:
        print(json.dumps(run(name), sort_keys=True), flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
