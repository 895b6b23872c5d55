"""Ask one sdist's build backend for something (PEP 517). Runs in the sandbox.

    python3.X -I driver.py static|requires|metadata|wheel|prepare

Reads from the directory that it stands in: job.json, sdist/ with one archive, needs/
with the wheels of the build requirements, patches/, and crates/ with what the sdist's
Cargo.lock names. Writes out/result.json and, for a wheel, out/NAME.whl, stripped before
it is packed so that RECORD holds; the debug information that was stripped goes below
debug/, where the files will be installed. The backend runs in an environment of its own
that has the build requirements and nothing else. "static" tells what the patched sdist
declares, and "prepare" stops before the backend is asked for anything.
"""

import glob
import json
import os
import subprocess
import sys
import sysconfig
import tarfile
import venv
import zipfile

here = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, here)
import ampoule_relocate

ENV = os.path.join(here, "env")
OUT = os.path.join(here, "out")
DEBUG = os.path.join(here, "debug")

# Runs under the environment's own interpreter, in the source directory, which is no
# place that modules come from unless the sdist says so.
HOOK = r"""
import importlib, importlib.metadata, json, os, re, sys
mode, spec, backend_path, out, settings = sys.argv[1], sys.argv[2], json.loads(sys.argv[3]), sys.argv[4], json.loads(sys.argv[5])
sys.path[:0] = [os.path.abspath(p) for p in backend_path]
module, _, attributes = spec.partition(":")
backend = importlib.import_module(module)
for name in filter(None, attributes.split(".")):
    backend = getattr(backend, name)
if backend_path and not any(
    os.path.realpath(importlib.import_module(module).__file__).startswith(os.path.realpath(p) + os.sep) for p in backend_path
):
    raise SystemExit("build backend %s is not in backend-path %s" % (spec, backend_path))
def normal(name):
    return re.sub("[-_.]+", "-", name).lower()
def requires():
    hook = getattr(backend, "get_requires_for_build_wheel", None)
    return list(hook(settings)) if hook else []
def check_requires():
    # What the backend asks for may depend on more than locking saw.
    there = {normal(d.metadata["Name"]) for d in importlib.metadata.distributions()}
    for text in requires():
        name = re.match("[A-Za-z0-9._-]*", text.strip()).group()
        if ";" not in text and normal(name) not in there:
            raise SystemExit("the build wants %s, which its lock does not have" % text)
result = {}
if mode == "requires":
    result["requires"] = requires()
elif mode == "metadata":
    os.makedirs(out, exist_ok=True)
    hook = getattr(backend, "prepare_metadata_for_build_wheel", None)
    if hook:
        result["dist_info"] = hook(out, settings)
    else:
        result["wheel"] = backend.build_wheel(out, settings)
else:
    check_requires()
    result["wheel"] = backend.build_wheel(out, settings)
with open(os.path.join(out, "hook.json"), "w") as f:
    json.dump(result, f)
"""


# What an sdist may unpack to: SciPy's has 5,000 files and 150 MB.
MAX_FILES = 200_000
MAX_BYTES = 8 << 30


def unpack(archive, directory):
    """Unpack an sdist and return the one directory that it holds."""
    os.makedirs(directory)
    if archive.endswith(".zip"):
        with zipfile.ZipFile(archive) as z:
            check_size(archive, ((info.file_size, info.filename) for info in z.infolist()))
            z.extractall(directory)
    else:
        with tarfile.open(archive) as t:
            check_size(archive, ((member.size, member.name) for member in t))
            check_members(t)
            if hasattr(tarfile, "data_filter"):
                t.extractall(directory, filter="data")
            else:
                t.extractall(directory)
    tops = os.listdir(directory)
    if len(tops) != 1 or not os.path.isdir(os.path.join(directory, tops[0])):
        raise SystemExit("an sdist holds one directory, this one holds: " + ", ".join(sorted(tops)))
    return os.path.join(directory, tops[0])


def check_size(archive, members):
    """Refuse an archive that unpacks to too much, before it does."""
    total = 0
    for count, (size, name) in enumerate(members, 1):
        total += size
        if count > MAX_FILES or total > MAX_BYTES:
            raise SystemExit(
                "%s unpacks to more than %d files or %d bytes: stopped at %r"
                % (os.path.basename(archive), MAX_FILES, MAX_BYTES, name)
            )


def check_members(archive):
    """Refuse what leaves the archive's directory: the filter of tarfile came with Python 3.11.4 (PEP 706)."""
    links = {inside(member.name, member.name) for member in archive if member.issym()}
    for member in archive:
        name = inside(member.name, member.name)
        if not member.issym() and name in links:
            raise SystemExit("%r is a link, too" % member.name)
        through(member.name, links, member.name)
        if member.issym():
            target = os.path.join(os.path.dirname(member.name), member.linkname)
            inside(target, member.name)
            through(target, links, member.name)
        elif member.islnk():
            inside(member.linkname, member.name)
            through(member.linkname, links, member.name)
        elif not (member.isfile() or member.isdir()):
            raise SystemExit("%r is a device or a pipe: an sdist holds files" % member.name)


def through(path, links, what):
    """Refuse a path whose way leads through a link: where it ends cannot be told from its text."""
    parts = path.split("/")
    for i in range(1, len(parts)):
        parent = os.path.normpath("/".join(parts[:i]))
        if parent in links:
            raise SystemExit("%r lies below the link %r" % (what, parent))


def inside(path, what):
    """Normalize a path that must be below the directory that it is unpacked to."""
    if os.path.isabs(path) or "\0" in path:
        raise SystemExit("%r is outside the destination" % what)
    normal = os.path.normpath(path)
    if normal == ".." or normal.startswith("../"):
        raise SystemExit("%r is outside the destination" % what)
    return normal


# It runs the pip in the directory or archive that is its first argument.
PIP = """\
import sys
sys.path.append(sys.argv.pop(1))
from pip._internal.cli.main import main
sys.exit(main())
"""


def pip_path():
    """Find the pip that the interpreter brings: installed, with its bytecode, or only bundled."""
    installed = sysconfig.get_path("purelib")
    if os.path.isdir(os.path.join(installed, "pip")):
        return installed
    return glob.glob(os.path.join(sysconfig.get_path("stdlib"), "ensurepip", "_bundled", "pip-*.whl"))[0]


def make_environment(needs):
    venv.create(ENV, symlinks=True, with_pip=False)
    python = os.path.join(ENV, "bin", "python")
    if needs:
        subprocess.run(
            [python, "-I", "-c", PIP, pip_path(), "install", "--ignore-installed", "--quiet", "--no-index", "--no-deps", "--no-cache-dir",
             "--no-compile", "--disable-pip-version-check", "--no-warn-script-location", *needs],
            check=True,
        )
    return python


def apply_patches(source):
    """Give the place of the first patch that does not apply, counted from 0."""
    for i, patch in enumerate(sorted(glob.glob(os.path.join(here, "patches", "*")))):
        applied = subprocess.run(["patch", "-p1", "--forward", "--batch", "--no-backup-if-mismatch", "-i", patch], cwd=source, check=False)
        if applied.returncode:
            return i
    return None


def build_system(source):
    path = os.path.join(source, "pyproject.toml")
    if not os.path.exists(path):
        return None
    import tomllib

    with open(path, "rb") as f:
        return tomllib.load(f).get("build-system")


def backend_of(table):
    # PEP 517: without a backend, setuptools in its legacy mode.
    table = table or {}
    return table.get("build-backend", "setuptools.build_meta:__legacy__"), table.get("backend-path", [])


def environment():
    """What the backend gets beside what this program has."""
    env = dict(os.environ, PATH=os.path.join(ENV, "bin") + os.pathsep + os.environ["PATH"], VIRTUAL_ENV=ENV)
    env["PYO3_BUILD_EXTENSION_MODULE"] = "1"
    # Whatever pip is asked for in a build is refused by name, at once.
    env["PIP_NO_INDEX"] = "1"
    crates = os.path.join(here, "crates")
    if os.path.isdir(crates):
        import ampoule_vendor

        env.update(ampoule_vendor.prepare(crates, os.path.join(here, "cargo")))
    return env


# These backends build in a directory with a random name, which debug information holds,
# unless a setting names one.
BUILD_DIR = {"mesonpy": "builddir", "scikit_build_core.build": "build-dir"}


def hook_step(mode, python, source, settings):
    """The command that asks the backend, told to whoever opens a shell beside it."""
    backend, backend_path = backend_of(build_system(source))
    if backend in BUILD_DIR:
        settings = {BUILD_DIR[backend]: "build/ampoule", **(settings or {})}
    hook = os.path.join(here, "hook.py")
    with open(hook, "w", encoding="utf-8") as f:
        f.write(HOOK.lstrip())
    args = [python, "-P", hook, mode, backend, json.dumps(backend_path), OUT, json.dumps(settings)]
    step = {"args": args, "dir": source, "env": environment()}
    with open(os.path.join(here, "step.json"), "w") as f:
        json.dump(step, f)
    return step


def run_hook(step):
    asked = subprocess.run(step["args"], cwd=step["dir"], env=step["env"], check=False)
    if asked.returncode:
        # The backend has said why: nothing of ours belongs behind it.
        sys.exit(asked.returncode if asked.returncode > 0 else 128 - asked.returncode)
    with open(os.path.join(OUT, "hook.json")) as f:
        return json.load(f)


def metadata_of(result):
    if "dist_info" in result:
        with open(os.path.join(OUT, result["dist_info"], "METADATA"), encoding="utf-8") as f:
            return f.read()
    with zipfile.ZipFile(os.path.join(OUT, result["wheel"])) as z:
        names = [n for n in z.namelist() if n.count("/") == 1 and n.endswith(".dist-info/METADATA")]
        return z.read(names[0]).decode("utf-8")


def installed_path(name):
    """Where a wheel's member is installed, relative to the interpreter's prefix."""
    site_packages = os.path.relpath(sysconfig.get_path("platlib"), sysconfig.get_path("data"))
    parts = name.split("/")
    if parts[0].endswith(".data") and len(parts) > 2:
        scheme = {"scripts": "bin", "data": ""}.get(parts[1], site_packages)
        return os.path.join(scheme, *parts[2:])
    return os.path.join(site_packages, name)


# What compilers are told to call the build directory, too.
SOURCES = b"/usr/src/ampoule"


def rename_build_directory(path, name):
    """Call the build directory in a text, such as numpy's account of its build or an SBOM, as compilers do.

    What may be more than text stays as it is, and so does a script, which could mean to
    run what is there.
    """
    with open(path, "rb") as f:
        data = f.read()
    work = os.fsencode(here)
    if work not in data or b"\0" in data:
        return
    try:
        data.decode("utf-8")
    except UnicodeDecodeError:
        return
    print("%s names the build directory: it is called %s there" % (name, SOURCES.decode()))
    with open(path, "wb") as f:
        f.write(data.replace(work, SOURCES))


def finish_wheel(path):
    """Strip what is in the wheel and pack it the same way whenever it is built."""
    directory = os.path.join(here, "unpacked")
    with zipfile.ZipFile(path) as z:
        modes = {i.filename: (i.external_attr >> 16) & 0o777 for i in z.infolist()}
        z.extractall(directory)
    names = sorted(n for n in modes if not n.endswith("/"))
    record = next(n for n in names if n.endswith(".dist-info/RECORD") and n.count("/") == 1)
    rows = []
    for name in names:
        full = os.path.join(directory, name)
        if ampoule_relocate.is_elf(full):
            installed = installed_path(name)
            ampoule_relocate.strip(full, os.path.join(DEBUG, installed + ".debug"))
            ampoule_relocate.keep_own_rpath(full)
            if ampoule_relocate.needs_carried(full):
                ampoule_relocate.find_carried(full, os.path.relpath("lib", os.path.dirname(installed)))
        elif ".data/scripts/" not in name:
            rename_build_directory(full, name)
        if name == record:
            continue
        with open(full, "rb") as f:
            data = f.read()
        rows.append('%s,%s,%d\n' % ('"%s"' % name.replace('"', '""') if "," in name or '"' in name else name, ampoule_relocate.record_hash(data), len(data)))
    with open(os.path.join(directory, record), "w", encoding="utf-8", newline="\n") as f:
        f.write("".join(rows) + record + ",,\n")
    # The specification asks for dist-info at the end of the archive.
    names.sort(key=lambda n: (".dist-info/" in n, n == record, n))
    with zipfile.ZipFile(path + ".new", "w", zipfile.ZIP_DEFLATED) as z:
        for name in names:
            info = zipfile.ZipInfo(name, (2020, 1, 1, 0, 0, 0))
            info.compress_type = zipfile.ZIP_DEFLATED
            info.external_attr = (0o100755 if modes[name] & 0o111 else 0o100644) << 16
            with open(os.path.join(directory, name), "rb") as f:
                z.writestr(info, f.read())
    os.replace(path + ".new", path)


def main():
    (mode,) = sys.argv[1:]
    (archive,) = glob.glob(os.path.join(here, "sdist", "*"))
    os.makedirs(OUT)
    os.makedirs(DEBUG)
    with open(os.path.join(here, "job.json"), encoding="utf-8") as f:
        settings = json.load(f)["config_settings"]
    source = unpack(archive, os.path.join(here, "src"))
    failed = apply_patches(source)
    if mode == "static":
        # No build system where there is no such table: PEP 518 says what is needed then.
        result = {"failed_patch": failed, "build_system": None if failed is not None else build_system(source)}
    elif failed is not None:
        raise SystemExit("a patch does not apply")
    else:
        result = {}
        python = make_environment(sorted(glob.glob(os.path.join(here, "needs", "*.whl"))))
        step = hook_step("wheel" if mode == "prepare" else mode, python, source, settings)
        if mode != "prepare":
            result = run_hook(step)
    if mode == "metadata":
        result["metadata"] = metadata_of(result)
    if mode == "wheel":
        finish_wheel(os.path.join(OUT, result["wheel"]))
    with open(os.path.join(OUT, "result.json"), "w") as f:
        json.dump(result, f)


if __name__ == "__main__":
    main()
