"""Has time.perf_counter tell the processor time of a process and of those that it has waited for.

Interpreters that share a processor disturb each other's wall time, and hardly this. Python imports the module
when it starts.
"""

import resource
import time


def perf_counter():
    ended = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + ended.ru_utime + ended.ru_stime


time.perf_counter = perf_counter
time.perf_counter_ns = lambda: round(perf_counter() * 1e9)
