"""Runs modules of CPython's own tests, each in a process of its own, with every resource that needs no network.

    python3 -m cpython_tests NAME...

What came of each is a line of JSON on stdout, in the order in which they end. Without a name it lists all.
"""

import concurrent.futures
import json
import os
import re
import subprocess
import sys
import tempfile
import time
import xml.etree.ElementTree

RESOURCES = "all,-network,-urlfetch"
# Seconds: of one test, after which it tells where it hangs, and of one module.
TEST_LIMIT, MODULE_LIMIT = 900, 1800


def run(name):
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as work:
        report = os.path.join(work, "report.xml")
        command = [sys.executable, "-m", "test", "-u", RESOURCES, "--timeout", str(TEST_LIMIT), "--junit-xml", report, name]
        try:
            ended = subprocess.run(
                command, cwd=work, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=MODULE_LIMIT
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
    return {"result": "failed", "failed": failed or [last_line(text)], "skipped": skipped}


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


def last_line(text):
    return ([line for line in text.splitlines() if line.strip()] or ["it says nothing"])[-1]


def main(names):
    if not names:
        os.execv(sys.executable, [sys.executable, "-m", "test", "--list-tests", "-u", RESOURCES])
    with concurrent.futures.ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        for done in concurrent.futures.as_completed([pool.submit(run, name) for name in names]):
            print(json.dumps(done.result(), sort_keys=True), flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
