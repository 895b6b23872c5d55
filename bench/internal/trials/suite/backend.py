"""Builds the tests of CPython to a wheel: the packages of tests, and the extension modules that only they import."""

import base64
import glob
import hashlib
import importlib.util
import json
import os
import stat
import subprocess
import sys
import sysconfig
import tarfile
import tempfile
import zipfile

HERE = os.path.dirname(os.path.abspath(__file__))
# What is set for wheels is no part of a compilation as it comes.
OURS = ("PYTHON", "CFLAGS", "CXXFLAGS", "CPPFLAGS", "LDFLAGS", "LD_LIBRARY_PATH")


def facts():
    with open(os.path.join(HERE, "facts.json"), encoding="utf-8") as file:
        return json.load(file)


def compile_source(directory):
    """Compiles CPython with its own flags, and returns its source tree. Its modules name no place."""
    with tarfile.open(os.path.join(HERE, facts()["source"])) as archive:
        archive.extractall(directory, filter="data")
    (root,) = glob.glob(os.path.join(directory, "*"))
    env = {k: v for k, v in os.environ.items() if not k.startswith(OURS)}
    jobs = str(len(os.sched_getaffinity(0)))
    for command in (["./configure", *facts()["configure"]], ["make", "-j" + jobs]):
        subprocess.run(command, cwd=root, env=env, check=True, stdin=subprocess.DEVNULL, stdout=sys.stderr)
    return root


def build_wheel(wheel_directory, config_settings=None, metadata_directory=None):
    with tempfile.TemporaryDirectory() as directory:
        root = compile_source(directory)
        return write_wheel(wheel_directory, dict([*packages(root), *modules(root)]))


def packages(root):
    """Yields the files of the packages that the suite is, by what they are in an installation."""
    library = os.path.join(root, "Lib")
    for package in ("test", os.path.join("idlelib", "idle_test")):
        for directory, names, leaves in os.walk(os.path.join(library, package)):
            names[:] = sorted(n for n in names if n != "__pycache__")
            for leaf in sorted(leaves):
                path = os.path.join(directory, leaf)
                yield os.path.relpath(path, library), path


def modules(root):
    """Yields the extension modules that this interpreter does not have."""
    suffix = sysconfig.get_config_var("EXT_SUFFIX")
    for path in sorted(glob.glob(os.path.join(root, "build", "lib.*", "*" + suffix)) + glob.glob(os.path.join(root, "Modules", "*" + suffix))):
        leaf = os.path.basename(path)
        if importlib.util.find_spec(leaf.removesuffix(suffix)) is None:
            yield leaf, path


def write_wheel(directory, files):
    name, version = "cpython_tests", facts()["version"]
    info = f"{name}-{version}.dist-info"
    tag = f"cp{sys.version_info.major}{sys.version_info.minor}"
    tag = f"{tag}-{tag}-{sysconfig.get_platform().replace('-', '_').replace('.', '_')}"
    leaf = f"{name}-{version}-{tag}.whl"
    record = ""
    with zipfile.ZipFile(os.path.join(directory, leaf), "w", zipfile.ZIP_DEFLATED) as wheel:

        def add(path, content, mode=0o644):
            nonlocal record
            digest = base64.urlsafe_b64encode(hashlib.sha256(content).digest()).decode().rstrip("=")
            quoted = '"%s"' % path if "," in path else path
            record += f"{quoted},sha256={digest},{len(content)}\n"
            member = zipfile.ZipInfo(path, (1980, 1, 1, 0, 0, 0))
            member.external_attr = (stat.S_IFREG | mode) << 16
            wheel.writestr(member, content)

        for path, file in sorted(files.items()):
            # A test runs a program that is data.
            mode = 0o755 if os.access(file, os.X_OK) else 0o644
            with open(file, "rb") as content:
                add(path, content.read(), mode)
        add(f"{info}/METADATA", metadata().encode())
        add(f"{info}/WHEEL", f"Wheel-Version: 1.0\nGenerator: suite\nRoot-Is-Purelib: false\nTag: {tag}\n".encode())
        wheel.writestr(zipfile.ZipInfo(f"{info}/RECORD", (1980, 1, 1, 0, 0, 0)), record + f"{info}/RECORD,,\n")
    return leaf


def metadata():
    return f"Metadata-Version: 2.2\nName: cpython-tests\nVersion: {facts()['version']}\n"
