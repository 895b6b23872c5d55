"""Answers what the library packaging says of each line of stdin, a JSON list, by a line of JSON."""

import json
import sys

from packaging.markers import InvalidMarker, Marker, UndefinedComparison
from packaging.requirements import InvalidRequirement, Requirement
from packaging.specifiers import InvalidSpecifier, SpecifierSet
from packaging.utils import canonicalize_name
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


questions = {f.__name__: f for f in (version, order, specifiers, contains, requirement, marker, name)}
for line in sys.stdin:
    kind, *args = json.loads(line)
    try:
        answer = questions[kind](*args)
    except (InvalidMarker, InvalidRequirement, InvalidSpecifier, InvalidVersion):
        answer = None
    print(json.dumps(answer))
