package docker

// allowed are the system calls that a sandbox may make, whatever their arguments. What
// is neither here nor in [conditional] is refused: with ENOSYS where [missing] has it,
// else with EPERM. A name that the engine's libseccomp does not know is left out there,
// and so refused.
//
// What Docker's own list has and this one has not: system calls for asynchronous input
// and output (aio, io_uring), whose limits are counted for the whole machine and whose
// code is a frequent way out of a container; ptrace, process_vm_readv and
// process_vm_writev, which no build needs and which read other processes;
// everything that sets clocks or scheduling; fanotify, memfd_secret, modify_ldt,
// name_to_handle_at.
var allowed = []struct {
	// why says what a build needs them for.
	why   string
	calls []string
}{
	{"files are read and written", []string{
		"close", "close_range", "copy_file_range", "creat", "dup", "dup2", "dup3", "fadvise64", "fallocate", "fcntl", "fdatasync",
		"flock", "fsync", "ftruncate", "ioctl", "lseek", "open", "openat", "openat2", "pipe", "pipe2", "pread64", "preadv", "preadv2",
		"pwrite64", "pwritev", "pwritev2", "read", "readahead", "readv", "sendfile", "splice", "sync", "sync_file_range", "syncfs",
		"tee", "truncate", "vmsplice", "write", "writev",
	}},
	{"files are found, made, named and described", []string{
		"access", "cachestat", "chdir", "chmod", "faccessat", "faccessat2", "fchdir", "fchmod", "fchmodat", "fchmodat2", "fgetxattr",
		"flistxattr", "fremovexattr", "fsetxattr", "fstat", "fstatfs", "futimesat", "getcwd", "getdents", "getdents64", "getxattr",
		"lgetxattr", "link", "linkat", "listxattr", "llistxattr", "lremovexattr", "lsetxattr", "lstat", "mkdir", "mkdirat",
		"newfstatat", "readlink", "readlinkat", "removexattr", "rename", "renameat", "renameat2", "rmdir", "setxattr", "stat", "statfs",
		"statx", "symlink", "symlinkat", "umask", "unlink", "unlinkat", "utime", "utimensat", "utimes",
	}},
	{"dpkg and tar set owners, which takes capabilities that only installing packages has", []string{
		"chown", "fchown", "fchownat", "lchown",
	}},
	{"changes of files are watched, by watchers that are counted for each user", []string{
		"inotify_add_watch", "inotify_init", "inotify_init1", "inotify_rm_watch",
	}},
	{"memory is mapped and shared", []string{
		"brk", "madvise", "map_shadow_stack", "membarrier", "memfd_create", "mincore", "mlock", "mlock2", "mlockall", "mmap", "mprotect",
		"mremap", "mseal", "msync", "munlock", "munlockall", "munmap", "pkey_alloc", "pkey_free", "pkey_mprotect", "remap_file_pages",
	}},
	{"processes and threads are started, waited for and ended; clone and kill have conditions", []string{
		"arch_prctl", "execve", "execveat", "exit", "exit_group", "fork", "get_robust_list", "get_thread_area", "pidfd_open",
		"pidfd_send_signal", "prctl", "restart_syscall", "rseq", "set_robust_list", "set_thread_area", "set_tid_address", "tgkill",
		"tkill", "vfork", "wait4", "waitid",
	}},
	{"processes ask who they are, and programs that change it get the kernel's own answer", []string{
		"capget", "capset", "getegid", "geteuid", "getgid", "getgroups", "getpgid", "getpgrp", "getpid", "getppid", "getresgid",
		"getresuid", "getsid", "gettid", "getuid", "setfsgid", "setfsuid", "setgid", "setgroups", "setpgid", "setregid", "setresgid",
		"setresuid", "setreuid", "setsid", "setuid",
	}},
	{"limits, priorities and use are asked for, or lowered", []string{
		"getcpu", "getpriority", "getrlimit", "getrusage", "ioprio_get", "ioprio_set", "prlimit64", "sched_get_priority_max",
		"sched_get_priority_min", "sched_getaffinity", "sched_getattr", "sched_getparam", "sched_getscheduler",
		"sched_rr_get_interval", "sched_setaffinity", "sched_setattr", "sched_setparam", "sched_setscheduler", "sched_yield",
		"setpriority", "setrlimit", "sysinfo", "times", "uname",
	}},
	{"signals are sent and handled", []string{
		"alarm", "getitimer", "pause", "rt_sigaction", "rt_sigpending", "rt_sigprocmask", "rt_sigqueueinfo", "rt_sigreturn",
		"rt_sigsuspend", "rt_sigtimedwait", "rt_tgsigqueueinfo", "setitimer", "sigaltstack", "signalfd", "signalfd4",
	}},
	{"time is told and waited for", []string{
		"clock_getres", "clock_gettime", "clock_nanosleep", "gettimeofday", "nanosleep", "time", "timer_create", "timer_delete",
		"timer_getoverrun", "timer_gettime", "timer_settime", "timerfd_create", "timerfd_gettime", "timerfd_settime",
	}},
	{"several files are waited for", []string{
		"epoll_create", "epoll_create1", "epoll_ctl", "epoll_pwait", "epoll_pwait2", "epoll_wait", "eventfd", "eventfd2", "poll",
		"ppoll", "pselect6", "select",
	}},
	{"threads wait for each other", []string{
		"futex", "futex_requeue", "futex_wait", "futex_waitv", "futex_wake",
	}},
	{"processes of one sandbox talk; socket and socketpair have conditions", []string{
		"accept", "accept4", "bind", "connect", "getpeername", "getsockname", "getsockopt", "listen", "recvfrom", "recvmmsg", "recvmsg",
		"sendmmsg", "sendmsg", "sendto", "setsockopt", "shutdown",
	}},
	{"the same by System V and POSIX queues, semaphores and memory, which belong to the sandbox", []string{
		"mq_getsetattr", "mq_notify", "mq_open", "mq_timedreceive", "mq_timedsend", "mq_unlink", "msgctl", "msgget", "msgrcv", "msgsnd",
		"semctl", "semget", "semop", "semtimedop", "shmat", "shmctl", "shmdt", "shmget",
	}},
	{"random numbers are drawn", []string{"getrandom"}},
	{"programs take rights from themselves", []string{
		"landlock_add_rule", "landlock_create_ruleset", "landlock_restrict_self", "seccomp",
	}},
}

// missing are refused as a kernel that does not have them refuses: whoever calls them
// has another way then, and takes EPERM for an answer to what it asked.
var missing = []string{
	// Its flags are in memory, where no filter sees them. The C library goes on with clone.
	"clone3",
	"io_cancel", "io_destroy", "io_getevents", "io_pgetevents", "io_setup", "io_submit",
	"io_uring_enter", "io_uring_register", "io_uring_setup",
	"fanotify_init", "fanotify_mark", "kcmp", "memfd_secret", "modify_ldt", "name_to_handle_at", "pidfd_getfd",
	"process_madvise", "process_mrelease", "process_vm_readv", "process_vm_writev", "userfaultfd",
}
