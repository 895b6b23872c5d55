

# Added by Ampoule: the carried terminal descriptions are used only where the host
# has none at all.
def _host_terminfo():
    if "TERMINFO" in os.environ or "TERMINFO_DIRS" in os.environ:
        return
    if os.path.isdir("/usr/share/terminfo") or os.path.isdir("/lib/terminfo"):
        return
    os.environ["TERMINFO_DIRS"] = os.path.join(sys.base_prefix, "share", "terminfo")


_host_terminfo()


# Added by Ampoule: libraries that are loaded by name find the data that is carried for
# them. The file has lines of NAME HOW PATH [HOST]; artifact.VariablesFile says what they
# mean. What somebody has set stays.
def _carried_data():
    try:
        with open(os.path.join(sys.base_prefix, "share", "ampoule", "variables"), encoding="utf-8") as f:
            lines = f.read().splitlines()
    except OSError:
        return
    for line in lines:
        name, how, path, *host = line.split(" ")
        path = os.path.join(sys.base_prefix, path)
        was = os.environ.get(name)
        if how == "first" and was:
            if path not in was.split(os.pathsep):
                os.environ[name] = path + os.pathsep + was
        elif was is None and not (how == "missing" and any(map(os.path.exists, host))):
            os.environ[name] = path


_carried_data()
