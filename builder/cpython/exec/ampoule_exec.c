/* ampoule-exec starts a program as a program wants to be started.

       ampoule-exec [--init] [--keep-env NAME]... [--] PROGRAM [ARGUMENT...]

   PROGRAM is looked for beside ampoule-exec first, then in PATH; one with a slash is a path.
   ampoule-exec resolves the directory that it stands in once, so that the program keeps the
   release that it is started from, whatever a link such as "current" leads to later.

   The program gets
     - the default disposition of every signal, and an empty signal mask: both are inherited
       across fork(2) and execve(2), and a parent that ignores SIGCHLD breaks servers;
     - a soft limit of open files between NOFILE_LEAST, where the hard limit allows it, and
       NOFILE_MOST. Other limits stay as they are, that of core files too;
     - an environment without the variables that decide what code the loader and Python run.
       What is removed is told on stderr, unless --keep-env or AMPOULE_KEEP_ENV, a list of
       names with commas, asks to keep it.

   As process 1, and with --init, it stays: it starts the program in a process group of its
   own, forwards signals to it, reaps whatever ends, and ends when the program does.

   It ends with the program's exit status, with 128+N after signal N, with 127 if there is no
   such program, with 126 if it cannot be run, and with 125 after an error of its own. */

#define _GNU_SOURCE
#include <errno.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

enum {
    /* Exit statuses, as docker-run(1) and env(1) have them. */
    OWN_FAULT = 125,
    NOT_EXECUTABLE = 126,
    NOT_FOUND = 127,

    /* Bounds of the soft limit of open files. The usual 1024 is little for a server; some
       programs close every descriptor up to the limit, which takes minutes for a billion. */
    NOFILE_LEAST = 65536,
    NOFILE_MOST = 1048576,

    /* Signals are 1 to this number on all architectures but MIPS (signal(7)). */
    LAST_SIGNAL = 64,
};

/* Settings of Python that do not decide what code runs. They stay. Every other variable with
   PYTHON at its start is removed, so that a new one is not kept by accident. */
static const char *const settings[] = {
    "PYTHONASYNCIODEBUG", "PYTHONCOERCECLOCALE", "PYTHONDEBUG", "PYTHONDEVMODE",
    "PYTHONDONTWRITEBYTECODE", "PYTHONFAULTHANDLER", "PYTHONHASHSEED", "PYTHONINTMAXSTRDIGITS",
    "PYTHONIOENCODING", "PYTHONMALLOC", "PYTHONMALLOCSTATS", "PYTHONNODEBUGRANGES",
    "PYTHONNOUSERSITE", "PYTHONOPTIMIZE", "PYTHONPERFSUPPORT", "PYTHONPROFILEIMPORTTIME",
    "PYTHONSAFEPATH", "PYTHONTRACEMALLOC", "PYTHONUNBUFFERED", "PYTHONUTF8", "PYTHONVERBOSE",
    "PYTHONWARNDEFAULTENCODING", "PYTHONWARNINGS", "PYTHON_COLORS", "PYTHON_CPU_COUNT",
    "PYTHON_DISABLE_REMOTE_DEBUG", "PYTHON_GIL", "PYTHON_JIT", "PYTHON_PERF_JIT_SUPPORT",
};

/* What ld.so(8) reads. Other names with LD_ at their start are applications' own. */
static const char *const loader[] = {
    "LD_ASSUME_KERNEL", "LD_AUDIT", "LD_BIND_NOT", "LD_BIND_NOW", "LD_DEBUG", "LD_DEBUG_OUTPUT",
    "LD_DYNAMIC_WEAK", "LD_HWCAP_MASK", "LD_LIBRARY_PATH", "LD_LIBRARY_VERSION", "LD_ORIGIN_PATH",
    "LD_POINTER_GUARD", "LD_PREFER_MAP_32BIT_EXEC", "LD_PRELOAD", "LD_PROFILE",
    "LD_PROFILE_OUTPUT", "LD_SHOW_AUXV", "LD_TRACE_LOADED_OBJECTS", "LD_TRACE_PRELINKING",
    "LD_USE_LOAD_BIAS", "LD_VERBOSE", "LD_WARN",
};

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

static void tell(const char *format, ...) __attribute__((format(printf, 1, 2)));
static void fail(int status, const char *format, ...) __attribute__((format(printf, 2, 3), noreturn));

static void tell_list(const char *format, va_list args) {
    char text[1024];
    int n = vsnprintf(text, sizeof text, format, args);
    dprintf(STDERR_FILENO, "ampoule-exec: %s%s\n", text, n >= (int)sizeof text ? "..." : "");
}

static void tell(const char *format, ...) {
    va_list args;
    va_start(args, format);
    tell_list(format, args);
    va_end(args);
}

static void fail(int status, const char *format, ...) {
    va_list args;
    va_start(args, format);
    tell_list(format, args);
    va_end(args);
    _exit(status);
}

/* What the command line asks for. */
struct request {
    bool init;
    /* kept holds the values of --keep-env. */
    const char **kept;
    int count;
    /* program is the program's vector of arguments. */
    char **program;
};

static struct request read_arguments(int argc, char **argv) {
    struct request r = {.kept = calloc((size_t)argc + 1, sizeof(char *))};
    if (r.kept == NULL)
        fail(OWN_FAULT, "out of memory");
    int i = 1;
    for (; i < argc && argv[i][0] == '-'; i++) {
        if (strcmp(argv[i], "--") == 0) {
            i++;
            break;
        }
        if (strcmp(argv[i], "--init") == 0)
            r.init = true;
        else if (strncmp(argv[i], "--keep-env=", 11) == 0)
            r.kept[r.count++] = argv[i] + 11;
        else if (strcmp(argv[i], "--keep-env") == 0 && i + 1 < argc)
            r.kept[r.count++] = argv[++i];
        else
            fail(OWN_FAULT, "%s: no such option; usage: ampoule-exec [--init] [--keep-env NAME]... [--] PROGRAM [ARGUMENT...]", argv[i]);
    }
    if (i >= argc)
        fail(OWN_FAULT, "no program is named; usage: ampoule-exec [--init] [--keep-env NAME]... [--] PROGRAM [ARGUMENT...]");
    r.program = argv + i;
    if (r.program[0][0] == '-')
        fail(NOT_FOUND, "%s: not a program; name one before its options, such as: python3 %s", r.program[0], r.program[0]);
    return r;
}

/* is_named reports whether a text begins with a name that ends where the text or the name's
   list does: at its end, at a comma or at an equals sign. */
static bool is_named(const char *text, const char *name, size_t length) {
    return strncmp(text, name, length) == 0 && strchr("=,", text[length]) != NULL;
}

static bool is_in(const char *const *names, size_t count, const char *name, size_t length) {
    for (size_t i = 0; i < count; i++)
        if (strlen(names[i]) == length && memcmp(names[i], name, length) == 0)
            return true;
    return false;
}

/* is_kept reports whether a variable is to be kept on request. */
static bool is_kept(const struct request *r, const char *name, size_t length) {
    if (is_in(r->kept, (size_t)r->count, name, length))
        return true;
    const char *list = getenv("AMPOULE_KEEP_ENV");
    while (list != NULL && *list != '\0') {
        if (is_named(list, name, length))
            return true;
        list = strchr(list, ',');
        if (list != NULL)
            list++;
    }
    return false;
}

/* decides_code reports whether a variable decides what code the loader or Python runs. */
static bool decides_code(const char *name, size_t length) {
    if (length >= 6 && memcmp(name, "PYTHON", 6) == 0)
        return !is_in(settings, COUNT(settings), name, length);
    return is_in(loader, COUNT(loader), name, length);
}

/* clean_environment removes variables, and tells which. */
static void clean_environment(const struct request *r) {
    char removed[512] = "";
    size_t used = 0;
    char **to = environ;
    for (char **from = environ; *from != NULL; from++) {
        size_t length = strcspn(*from, "=");
        if (!decides_code(*from, length) || is_kept(r, *from, length)) {
            *to++ = *from;
            continue;
        }
        int n = snprintf(removed + used, sizeof removed - used, "%s%.*s", used > 0 ? ", " : "", (int)length, *from);
        used = used + (size_t)n < sizeof removed ? used + (size_t)n : sizeof removed - 1;
    }
    *to = NULL;
    for (char *c = removed; *c != '\0'; c++)
        if (*c < ' ' || *c > '~')
            *c = '?';
    if (used > 0)
        tell("removed from the environment: %s (to keep one: --keep-env NAME, or AMPOULE_KEEP_ENV=NAME,NAME)", removed);
}

/* set_limits brings the soft limit of open files between its bounds. The hard limit stays. */
static void set_limits(void) {
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0)
        return;
    rlim_t wanted = limit.rlim_cur;
    if (wanted < NOFILE_LEAST)
        wanted = limit.rlim_max < NOFILE_LEAST ? limit.rlim_max : NOFILE_LEAST;
    if (wanted > NOFILE_MOST)
        wanted = NOFILE_MOST;
    if (wanted == limit.rlim_cur)
        return;
    limit.rlim_cur = wanted;
    if (setrlimit(RLIMIT_NOFILE, &limit) != 0)
        tell("setting the limit of open files to %llu: %s", (unsigned long long)wanted, strerror(errno));
}

/* own_directory is the directory that this file stands in, without any link. It begins with
   the path that the kernel was given, which needs no /proc. */
static const char *own_directory(void) {
    static char directory[PATH_MAX];
    const char *given = (const char *)getauxval(AT_EXECFN);
    if (given == NULL || realpath(given, directory) == NULL)
        fail(OWN_FAULT, "finding the directory of %s: %s", given != NULL ? given : "ampoule-exec", strerror(errno));
    *strrchr(directory, '/') = '\0';
    return directory;
}

/* lead_path puts a directory at the start of PATH, unless it stands there: what the program
   starts by name is of the same release. */
static void lead_path(const char *directory) {
    const char *path = getenv("PATH");
    if (path == NULL || *path == '\0')
        path = "/usr/local/bin:/usr/bin:/bin";
    size_t length = strlen(directory);
    if (strncmp(path, directory, length) == 0 && (path[length] == ':' || path[length] == '\0'))
        return;
    char *value;
    if (asprintf(&value, "%s:%s", directory, path) < 0 || setenv("PATH", value, 1) != 0)
        fail(OWN_FAULT, "out of memory");
    free(value);
}

/* default_signals gives every signal its default disposition, and unblocks all. glibc hides
   two signals from its functions, so the kernel is asked itself; a structure of zeroes is
   SIG_DFL without flags on every architecture. */
static void default_signals(void) {
    static const unsigned long zeroes[16];
    for (int signal = 1; signal <= LAST_SIGNAL; signal++)
        syscall(SYS_rt_sigaction, signal, zeroes, NULL, LAST_SIGNAL / 8); /* SIGKILL and SIGSTOP have no other one. */
    syscall(SYS_rt_sigprocmask, SIG_SETMASK, zeroes, NULL, LAST_SIGNAL / 8);
}

/* become executes the program in the place of this one. */
static void become(const char *directory, char **program) {
    default_signals();
    if (strchr(program[0], '/') == NULL && program[0][0] != '\0') {
        char *beside;
        if (asprintf(&beside, "%s/%s", directory, program[0]) < 0)
            fail(OWN_FAULT, "out of memory");
        execv(beside, program);
        int cause = errno;
        if (cause != ENOENT || access(beside, F_OK) == 0)
            fail(NOT_EXECUTABLE, "running %s: %s", beside, strerror(cause));
        free(beside);
    }
    execvp(program[0], program);
    if (errno == ENOENT || errno == ENOTDIR)
        fail(NOT_FOUND, "%s: not found in %s, nor in PATH", program[0], directory);
    fail(NOT_EXECUTABLE, "running %s: %s", program[0], strerror(errno));
}

/* reap takes leave of every child that has ended. It returns the exit status of the program,
   or -1 while that runs. */
static int reap(pid_t program) {
    int result = -1;
    for (;;) {
        int status;
        pid_t ended = waitpid(-1, &status, WNOHANG);
        if (ended < 0 && errno == EINTR)
            continue;
        if (ended <= 0)
            return result;
        if (ended == program)
            result = WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
    }
}

/* waited are the signals that are forwarded. Those that a fault of this program itself
   raises end it. */
static sigset_t waited(void) {
    static const int faults[] = {SIGFPE, SIGILL, SIGSEGV, SIGBUS, SIGABRT, SIGTRAP, SIGSYS};
    sigset_t set;
    sigfillset(&set);
    for (size_t i = 0; i < COUNT(faults); i++)
        sigdelset(&set, faults[i]);
    return set;
}

/* start starts the program in a process group of its own, in the foreground of the terminal
   if there is one, so that what the terminal sends reaches it once. All signals are blocked:
   SIGTTOU cannot stop it. */
static pid_t start(const char *directory, char **program) {
    pid_t child = fork();
    if (child < 0)
        fail(OWN_FAULT, "starting %s: %s", program[0], strerror(errno));
    if (child > 0)
        return child;
    if (setpgid(0, 0) == 0)
        (void)tcsetpgrp(STDIN_FILENO, getpgrp()); /* Without a terminal there is no foreground. */
    become(directory, program);
    _exit(OWN_FAULT);
}

/* serve starts the program, and is its init. It returns the exit status. */
static int serve(const char *directory, char **program) {
    default_signals(); /* With SIGCHLD ignored there would be nothing to wait for. */
    sigset_t set = waited();
    if (sigprocmask(SIG_SETMASK, &set, NULL) != 0)
        fail(OWN_FAULT, "blocking signals: %s", strerror(errno));
    if (getpid() != 1 && prctl(PR_SET_CHILD_SUBREAPER, 1) != 0)
        fail(OWN_FAULT, "becoming the parent of orphans: %s", strerror(errno));
    pid_t child = start(directory, program);
    for (;;) {
        int signal = sigwaitinfo(&set, NULL);
        if (signal == SIGCHLD) {
            int status = reap(child);
            if (status >= 0)
                return status;
        } else if (signal > 0 && kill(child, signal) != 0 && errno != ESRCH) {
            tell("forwarding signal %d: %s", signal, strerror(errno));
        }
    }
}

int main(int argc, char **argv) {
    struct request r = read_arguments(argc, argv);
    const char *directory = own_directory();
    clean_environment(&r);
    set_limits();
    lead_path(directory);
    if (r.init || getpid() == 1)
        return serve(directory, r.program);
    become(directory, r.program);
}
