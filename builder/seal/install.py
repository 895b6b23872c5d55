"""Install wheels into an empty tree, beside the interpreter that they belong to.

Run in the sandbox:  python3.X -I install.py PREFIX JOBS

Reads wheels/*.whl beside itself and writes tree/, laid out as PREFIX is. Nothing is
downloaded, resolved or compiled from C: every wheel is there, and only those.
"""

import glob
import os
import subprocess
import sys
import sysconfig

here = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, here)
import ampoule_relocate

prefix, jobs = sys.argv[1:]
out = os.path.join(here, "tree")
site_packages = os.path.join(out, os.path.relpath(sysconfig.get_path("purelib"), prefix))
bundled = glob.glob(os.path.join(sysconfig.get_path("stdlib"), "ensurepip", "_bundled", "pip-*.whl"))
subprocess.run(
    [
        sys.executable, "-I", bundled[0] + "/pip", "install", "--prefix", out, "--ignore-installed", "--no-index",
        "--no-deps", "--no-compile", "--no-cache-dir", "--disable-pip-version-check", "--no-warn-script-location",
        "--root-user-action=ignore", *sorted(glob.glob(os.path.join(here, "wheels", "*.whl"))),
    ],
    check=True,
)
for path in glob.glob(os.path.join(site_packages, "*.dist-info", "direct_url.json")):
    # It would tell where the wheel lay while it was installed (PEP 610).
    os.unlink(path)
    record = os.path.join(os.path.dirname(path), "RECORD")
    with open(record, encoding="utf-8") as f:
        rows = [row for row in f if ".dist-info/direct_url.json," not in row]
    with open(record, "w", encoding="utf-8", newline="\n") as f:
        f.writelines(rows)
ampoule_relocate.relocate_scripts(os.path.join(out, "bin"), prefix)
ampoule_relocate.fix_records(site_packages)
ampoule_relocate.compile_all(site_packages, out, prefix, jobs)
