"""Let cargo build offline from the crates that a lock names. Runs in the sandbox.

A directory source of cargo has a directory for each crate, with a file that tells the
crate's sha256 (The Cargo Book, "Source Replacement"): cargo compares it with the one in
Cargo.lock.
"""

import hashlib
import json
import os
import shutil
import tarfile

# What a crate may unpack to: bytes, and members. cargo itself allows 512 MiB.
MAX_UNPACKED = 1 << 30
MAX_MEMBERS = 200_000

# Where debug information says that sources are, here as from C's compiler.
SOURCES = "/usr/src/ampoule"

CONFIG = """\
[source.crates-io]
replace-with = "ampoule"

[source.ampoule]
directory = %s

[net]
offline = true
"""

WRAPPER = """\
#!/bin/sh
exec "$@" %s
"""


def prepare(crates_dir, cargo_home):
    """Make a CARGO_HOME with these crates, and return the environment that builds take."""
    vendor_dir = os.path.join(cargo_home, "vendor")
    vendor(crates_dir, vendor_dir)
    configure(cargo_home, vendor_dir)
    return environment(cargo_home, os.path.dirname(os.path.abspath(cargo_home)))


def vendor(crates_dir, vendor_dir):
    """Unpack each NAME-VERSION.crate into a directory of that name."""
    os.makedirs(vendor_dir)
    for file in sorted(os.listdir(crates_dir)):
        if not file.endswith(".crate"):
            raise SystemExit("%s is no crate" % file)
        unpack(os.path.join(crates_dir, file), vendor_dir)


def unpack(crate, vendor_dir):
    """Unpack one crate, which holds one directory that is named as it is itself."""
    name = os.path.basename(crate)[: -len(".crate")]
    size = 0
    with tarfile.open(crate, "r:gz") as members:
        for count, member in enumerate(members):
            check_member(crate, name, member)
            size += member.size
            if size > MAX_UNPACKED or count >= MAX_MEMBERS:
                raise SystemExit("the crate %s unpacks to more than %d bytes or %d files" % (name, MAX_UNPACKED, MAX_MEMBERS))
            if member.isfile():
                write(members.extractfile(member), os.path.join(vendor_dir, *member.name.split("/")), member.mode)
    if not os.path.isdir(os.path.join(vendor_dir, name)):
        raise SystemExit("the crate %s is empty" % name)
    with open(crate, "rb") as f:
        package = hashlib.file_digest(f, "sha256").hexdigest()
    # No hashes of single files: patches and build scripts may change what they like.
    with open(os.path.join(vendor_dir, name, ".cargo-checksum.json"), "w", encoding="ascii") as f:
        json.dump({"files": {}, "package": package}, f)


def check_member(crate, name, member):
    parts = member.name.rstrip("/").split("/")
    if parts[0] != name or any(part in ("", ".", "..") for part in parts) or "\0" in member.name:
        raise SystemExit("the crate %s has the member %r, which is not below %s/" % (name, member.name, name))
    if not member.isdir() and (not member.isfile() or len(parts) == 1):
        raise SystemExit("the crate %s has the member %r, which is neither a file nor a directory" % (name, member.name))


def write(source, path, mode):
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "wb") as f:
        shutil.copyfileobj(source, f)
    os.chmod(path, 0o755 if mode & 0o111 else 0o644)


def configure(cargo_home, vendor_dir):
    """Say in cargo's configuration that the public registry is a directory.

    An sdist may bring a configuration of its own, which is nearer: what it sets, holds.
    """
    os.makedirs(cargo_home, exist_ok=True)
    with open(os.path.join(cargo_home, "config.toml"), "w", encoding="utf-8") as f:
        # A string of JSON is one of TOML.
        f.write(CONFIG % json.dumps(os.path.abspath(vendor_dir)))


def environment(cargo_home, work_dir):
    """What cargo and those who call it get in their environment.

    The compiler's option comes from a wrapper, because RUSTFLAGS, like most settings of
    flags, would put a project's own flags aside.
    """
    wrapper = os.path.join(cargo_home, "rustc-wrapper")
    with open(wrapper, "w", encoding="utf-8") as f:
        f.write(WRAPPER % ("--remap-path-prefix=%s=%s" % (work_dir, SOURCES)))
    os.chmod(wrapper, 0o755)
    return {
        "CARGO_HOME": cargo_home,
        "CARGO_NET_OFFLINE": "true",
        "CARGO_INCREMENTAL": "0",
        "CARGO_TERM_COLOR": "never",
        "RUSTC_WRAPPER": wrapper,
        # maturin would otherwise ask for a Python package that downloads Rust.
        "MATURIN_NO_INSTALL_RUST": "1",
    }
