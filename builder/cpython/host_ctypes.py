

# Added by Ampoule: libraries that the tree carries are found first, by what it has in lib/:
# neither a compiler nor ldconfig is asked for them. The loader finds them by the name that
# is returned (decision 0071).
def _find_carried(name, _native=find_library):
    import re
    import sys
    pattern = re.compile(r"lib%s\.so(?:\.([0-9.]*[0-9]))?$" % re.escape(str(name)))
    try:
        found = filter(None, map(pattern.match, os.listdir(os.path.join(sys.base_prefix, "lib"))))
    except OSError:
        found = ()
    newest = max(found, key=lambda m: [int(n) for n in re.findall("[0-9]+", m[1] or "")], default=None)
    return newest[0] if newest else _native(name)


_find_carried.__doc__ = find_library.__doc__
find_library = _find_carried
