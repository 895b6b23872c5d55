"""Answers what the library packaging says of each line of stdin, a JSON list, by a line of JSON."""

import functools
import json
import re
import sys

from packaging import _manylinux, _musllinux
from packaging.markers import InvalidMarker, Marker, UndefinedComparison
from packaging.metadata import parse_email
from packaging.requirements import InvalidRequirement, Requirement
from packaging.specifiers import InvalidSpecifier, SpecifierSet
from packaging.tags import InvalidTag, compatible_tags, cpython_tags, parse_tag
from packaging.utils import InvalidSdistFilename, InvalidWheelFilename, canonicalize_name, parse_sdist_filename, parse_wheel_filename
from packaging.version import InvalidVersion, Version


def version(text):
    return str(Version(text))


def order(left, right):
    left, right = Version(left), Version(right)
    return (left > right) - (left < right)


def specifiers(text):
    return sorted(s.operator + s.version for s in SpecifierSet(text))


def contains(text, candidate):
    return SpecifierSet(text).contains(candidate, prereleases=True)


def requirement(text):
    r = Requirement(text)
    return {
        "name": canonicalize_name(r.name),
        "extras": sorted({canonicalize_name(e) for e in r.extras}),
        "specifiers": sorted({s.operator + s.version for s in r.specifier}),
        "url": r.url or "",
        "marked": r.marker is not None,
    }


def marker(text, environment):
    try:
        return Marker(text).evaluate(environment)
    except UndefinedComparison:
        return "undefined"


def name(text):
    return str(canonicalize_name(text))


def tags(text):
    return sorted(map(str, parse_tag(text)))


def wheel(file):
    name, version, build, tags = parse_wheel_filename(file)
    return {"name": name, "version": str(version), "build": [str(b) for b in build], "tags": sorted(map(str, tags))}


def sdist(file):
    name, version = parse_sdist_filename(file)
    return {"name": name, "version": str(version)}


@functools.cache
def supported_by(minor, flags, musl):
    platforms = ["linux_x86_64"]
    if musl:
        platforms += [f"musllinux_1_{n}_x86_64" for n in range(9)]
    else:
        platforms += [f"manylinux_2_{n}_x86_64" for n in range(60)]
        platforms += ["manylinux1_x86_64", "manylinux2010_x86_64", "manylinux2014_x86_64"]
    interpreter = f"cp3{minor}"
    abis = [interpreter + flags] + ([interpreter + flags.replace("d", "")] if "d" in flags else [])
    all = {*cpython_tags((3, minor), abis, platforms), *compatible_tags((3, minor), interpreter, platforms)}
    return frozenset(map(str, all))


def supported(tag, minor, flags, musl):
    return tag in supported_by(minor, flags, musl)


def accepts(libc, major, minor, machine):
    """The library asks the machine that it runs on; here it is told."""
    if libc == "glibc":
        _manylinux._get_glibc_version = lambda: (major, minor)
        _manylinux._have_compatible_abi = lambda *args: True
        _manylinux._get_manylinux_module = lambda: None
        return list(_manylinux.platform_tags([machine]))
    _musllinux._get_musl_version = lambda executable: _musllinux._MuslVersion(major, minor)
    return list(_musllinux.platform_tags([machine]))


FIELDS = {
    "Name": "name", "Version": "version", "Summary": "summary", "License": "license", "Requires-Python": "requires_python",
    "Requires-Dist": "requires_dist", "Provides-Extra": "provides_extra", "Classifier": "classifiers",
    "Requires-External": "requires_external", "X-Other": None,
}


def metadata(text):
    raw, unparsed = parse_email(text)
    found = {}
    for field, key in FIELDS.items():
        values = raw.get(key, unparsed.get(field.lower(), []))
        values = [values] if isinstance(values, str) else values
        # The library keeps the line breaks of folded values.
        found[field] = [re.sub(r"[ \t]*(\r\n|[\r\n])[ \t]*", " ", v).strip(" \t") for v in values]
    return found


questions = {f.__name__: f for f in (version, order, specifiers, contains, requirement, marker, name, tags, wheel, sdist, supported, accepts, metadata)}
for line in sys.stdin:
    kind, *args = json.loads(line)
    try:
        answer = questions[kind](*args)
    except (InvalidMarker, InvalidRequirement, InvalidSpecifier, InvalidVersion, InvalidTag, InvalidSdistFilename, InvalidWheelFilename):
        answer = None
    print(json.dumps(answer))
