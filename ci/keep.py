# Stays as process 1 of a container. Whatever ends is reaped, and signals from outside of the
# container are passed on to all other processes. Nothing inside can end it: the kernel keeps
# SIGKILL from process 1, and all other signals are blocked (pid_namespaces(7)).
import os
import signal

signals = signal.valid_signals()
signal.pthread_sigmask(signal.SIG_BLOCK, signals)
while True:
    came = signal.sigwaitinfo(signals)
    if came.si_signo == signal.SIGCHLD:
        try:
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        except ChildProcessError:
            pass
    elif came.si_pid == 0:
        # Who sent it is in no namespace that this process sees.
        try:
            os.kill(-1, came.si_signo)
        except ProcessLookupError:
            pass
