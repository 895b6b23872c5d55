

# Added by Ampoule: the carried terminal descriptions are used only where the host
# has none at all.
def _host_terminfo():
    if "TERMINFO" in os.environ or "TERMINFO_DIRS" in os.environ:
        return
    if os.path.isdir("/usr/share/terminfo") or os.path.isdir("/lib/terminfo"):
        return
    os.environ["TERMINFO_DIRS"] = os.path.join(sys.base_prefix, "share", "terminfo")


_host_terminfo()
