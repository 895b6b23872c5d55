# Added by Ampoule: whoever starts the interpreter through a link to a directory, such as
# "current", keeps the release that it leads to now, with all that is imported, forked and
# started later. An environment (PEP 405) still names its home by the link, and follows it at
# its next start; so does one that is made now.
def without_links(path):
    # realpath() here resolves the last component alone. Linux follows 40 links at most.
    for _ in range(40):
        whole = ''
        for name in path.split(SEP)[1:]:
            whole = realpath(whole + SEP + name)
        if whole == path:
            break
        path = whole
    return path


if os_name == 'posix' and not py_setpath:
    try:
        if venv_prefix:
            if executable_dir.startswith(SEP):
                executable_dir = real_executable_dir = without_links(executable_dir)
        elif executable.startswith(SEP) and isfile(executable) and not executable_dir:
            real_executable2 = without_links(executable)
            # A link to the program alone leads to one release, and is what CPython calls the executable.
            if real_executable2 != realpath(executable):
                base_executable = base_executable or executable
                real_executable = real_executable2
                executable_dir = real_executable_dir = dirname(real_executable)
                executable = joinpath(executable_dir, basename(executable))
                if not isfile(executable):
                    executable = real_executable
    except OSError:
        pass  # What cannot be resolved is used as it is.

