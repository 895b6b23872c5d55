package explain

const torchBuild = "python3 -c 'import torch; print(torch.__version__, torch.version.cuda, torch.cuda.get_arch_list())'; nvidia-smi"

// gpuKinds are what CUDA, PyTorch, TensorFlow and their like say.
var gpuKinds = []kind{
	{"torchvision-operator", cause, `operator (?P<op>torchvision::\w+|torchaudio::\w+) does not exist|No such operator (?P<old>torchvision::\w+)|Couldn't load custom C\+\+ ops|PyTorch and torchvision were compiled with different CUDA|Detected that PyTorch and (?P<other>\w+) were compiled with different CUDA`, told(Explanation{
		Means:    "torchvision's (or torchaudio's) native part does not load into the torch that is installed ({op,old,other|custom ops}): the two are of different releases, or of different builds (CPU, cu118, cu121), as when one was updated alone.",
		Find:     []Step{run("pip list | grep -E -i '^(torch|torchvision|torchaudio) '", "the three: torch 2.1 goes with torchvision 0.16, 2.2 with 0.17, 2.3 with 0.18, and the part behind + has to be the same"), run("pip install --upgrade torch torchvision torchaudio --index-url INDEX-OF-ONE-CUDA", "all of them in one command, from one index")},
		Prevents: lockedSet,
	})},
	{"cuda-driver-old", cause, `NVIDIA driver on your system is too old|unsupported CUDA version: driver (?:[\d.]+) < image (?:[\d.]+)|unsatisfied condition: (?:cuda|driver)\s*>=?\s*[\d.]+|CUDA driver version is insufficient for CUDA runtime version|cudaErrorInsufficientDriver|no longer supported by this driver|forward compatibility was attempted on non supported HW|unsupported display driver / cuda driver combination|the provided PTX was compiled with an unsupported toolchain|CUDA_ERROR_(?:SYSTEM_DRIVER_MISMATCH|COMPAT_NOT_SUPPORTED_ON_DEVICE)`, told(Explanation{
		Means:    "The wheels were made for a newer CUDA than the machine's driver knows. The driver fits the kernel and is the machine's; the CUDA is the wheels'.",
		Find:     []Step{run("nvidia-smi | head -n 4; python3 -c 'import torch; print(torch.version.cuda)'", "the newest CUDA that the driver takes, beside the wheel's: update the driver, or install a build for an older CUDA")},
		Prevents: ownDriver,
	})},
	{"cuda-driver-mismatch", cause, `Failed to initialize NVML: (?P<why>Driver/library version mismatch|Unknown Error|Insufficient Permissions)|NVML: Driver/library version mismatch`, told(Explanation{
		Means:    "The driver's library and the kernel's module are of different releases ({why}): the driver was updated and the module that runs is the old one, or a container was started before that. \"Unknown Error\" in a container: systemd reloaded its groups and the devices went away.",
		Find:     []Step{run("cat /proc/driver/nvidia/version; ls /usr/lib/*/libnvidia-ml.so.*", "the module that runs, and the library's release: a restart of the machine, or of the container, brings them together")},
		Prevents: ownMachine,
	})},
	{"cuda-no-driver", cause, `Found no NVIDIA driver on your system|no CUDA-capable device is detected|CUDA_ERROR_NO_DEVICE|No CUDA GPUs are available|CUDA unknown error - this may be due to an incorrectly set up environment|failed call to cuInit|Torch not compiled with CUDA enabled|libcuda reported version is: Invalid|Could not find cuda drivers on your machine|not compiled with GPU support|torch\.cuda\.is_available\(\) is False`, told(Explanation{
		Means:    "The program wants a graphics processor and none can be used: a build without CUDA (+cpu) is installed, the machine has no driver, or the container was not given the devices (--gpus all), or CUDA_VISIBLE_DEVICES hides them.",
		Find:     []Step{run(torchBuild, "the build (None is one without CUDA), and whether the driver answers here"), run("echo $CUDA_VISIBLE_DEVICES; ls /dev/nvidia*", "what hides the devices, and whether they are here at all")},
		Prevents: "Name libcuda.so.1 in runtime.vm.host of the recipe: ampoule preflight then says which machine lacks it.",
	})},
	{"cuda-architecture", cause, `no kernel image is available for execution on the device|(?P<sm>sm_\d+) is not compatible with the current PyTorch installation|CUDA_ERROR_NO_BINARY_FOR_GPU|invalid device function`, told(Explanation{
		Means:    "The build has no code for this graphics processor {sm|}: it is newer than the build, or so old that builds leave it out.",
		Find:     []Step{run(torchBuild, "the architectures that the build has, beside this processor's (nvidia-smi --query-gpu=compute_cap --format=csv): a newer build, or an older one, has it")},
		Prevents: ownDriver,
	})},
	{"cuda-library", general, `Could not load (?:dynamic )?library '?(?P<lib>lib(?:cud|cub|cuf|cur|cus|nv|nccl|tensorrt)[^\s';]*)|Cannot dlopen some (?P<tf>GPU) libraries|Unable to (?:load|find) (?:any of )?\{?(?P<cudnn>lib(?:cud|cub|cuf|nv)[^\s,}]*)|Could not locate (?P<zlib>zlibwapi|cudnn\S*)|CUDNN_STATUS_(?P<status>\w+)|cuDNN failed to initialize|DNN library initialization failed|[Uu]nable to find a valid cuDNN algorithm|Loaded runtime CuDNN library: (?P<loaded>[\d.]+) but source was compiled with: (?P<source>[\d.]+)|Could not find (?P<trt>TensorRT)|libdevice not found at`, told(Explanation{
		Means:    "A library of CUDA that is opened while the program runs ({lib,cudnn,status,zlib,trt,loaded|see the line}) is not found, or is of another release than the framework was compiled with: no file says that it is needed. TensorFlow goes on without the graphics processor; TensorRT and libcudart are needed for that alone.",
		Find:     []Step{run("pip list | grep -i -E 'nvidia|tensorflow|torch|jax|onnxruntime'; echo \"$LD_LIBRARY_PATH\"; ldconfig -p | grep -E 'cudnn|cudart'", "the CUDA libraries that are installed, and another copy that comes first"), run("pip install 'tensorflow[and-cuda]'", "brings TensorFlow's with it")},
		Prevents: testsThere,
	})},
	{"nccl", cause, `NCCL error in|nccl(?:System|UnhandledCuda|Internal|Remote)Error|ncclUniqueId[^\n]{0,40}(?:error|failed)`, told(Explanation{
		Means:    "The processes of a training that is spread over several graphics processors cannot talk to each other: a network interface that does not lead there, /dev/shm that is too small, drivers or releases of NCCL that differ, or one process that ended.",
		Find:     []Step{run("NCCL_DEBUG=INFO PROGRAM 2>&1 | grep -i -E 'warn|error|NET/' | head", "NCCL's own words: NCCL_SOCKET_IFNAME names the interface; df -h /dev/shm")},
		Prevents: ownMachine,
	})},
	{"cuda-assert", cause, `device-side assert triggered|an illegal memory access was encountered|CUDA error: misaligned address`, told(Explanation{
		Means:    "A kernel on the graphics processor found a wrong index or address, such as a label beyond the number of classes. The line of Python that is told is a later one.",
		Find:     []Step{run("CUDA_LAUNCH_BLOCKING=1 PROGRAM", "the true line; on the CPU the same program says what is wrong in words")},
		Prevents: testsThere,
	})},
	{"cuda-memory", cause, `CUDA out of memory|OutOfMemoryError: CUDA|CUDA_ERROR_OUT_OF_MEMORY|CUBLAS_STATUS_ALLOC_FAILED|RESOURCE_EXHAUSTED: (?:Out of memory|OOM)`, told(Explanation{
		Means:    "The graphics processor's memory is used up, by this process or by others on it.",
		Find:     []Step{run("nvidia-smi", "which processes hold how much"), look("Smaller batches; one worker for each processor; PYTORCH_CUDA_ALLOC_CONF=expandable_segments:True against fragments.")},
		Prevents: ownMachine,
	})},
	{"cuda-fork", cause, `Cannot re-initialize CUDA in forked subprocess|CUDA error: initialization error|To use CUDA with multiprocessing, you must use the 'spawn' start method`, told(Explanation{
		Means:    "A process used CUDA and was forked; CUDA does not work in its children. Pre-fork servers (gunicorn --preload, uWSGI) and DataLoader's workers do that.",
		Find:     []Step{run("grep -rn -E 'preload|lazy|fork' gunicorn.conf.py uwsgi.ini 2>/dev/null", "preload_app off, lazy-apps on: load the model in post_fork or at the first request"), look("multiprocessing.set_start_method(\"spawn\") for processes of one's own.")},
		Prevents: afterFork,
	})},
	{"shared-memory", cause, `insufficient shared memory|DataLoader worker \(pid[^)\n]*\) is killed by signal: Bus error|[Bb]us error|SIGBUS|/dev/shm: No space left|unable to open shared memory object`, told(Explanation{
		Means:    "The process wrote to memory that has no space behind it: /dev/shm is full (a container has 64 MiB of it), a file that is mapped was cut short, or a disk failed.",
		Find:     []Step{run("df -h /dev/shm", "its size: docker run --shm-size=1g, or --ipc=host; Kubernetes: an emptyDir with medium: Memory at /dev/shm")},
		Prevents: ownMachine,
	})},
	{"openmp-twice", cause, `OMP: Error #15|Initializing lib(?P<first>\w+)\.(?:so|dylib), but found lib(?P<second>\w+)\.|MKL_THREADING_LAYER=INTEL is incompatible|Found Intel OpenMP \('libiomp'\) and LLVM OpenMP`, told(Explanation{
		Means:    "Two OpenMP runtimes are in one process: each of torch, numpy with MKL, scikit-learn or FAISS brought one along.",
		Find:     []Step{run("python3 -m threadpoolctl -i numpy torch", "the runtimes and who brought them (pip install threadpoolctl)"), look("Take all of them from one place, conda or the index; MKL_THREADING_LAYER=GNU where numpy's MKL meets libgomp. KMP_DUPLICATE_LIB_OK hides it, and may give wrong results.")},
		Prevents: ownLibraries,
	})},
	{"mkl-library", cause, `Intel MKL FATAL ERROR|INTEL MKL ERROR|Cannot load (?P<lib>libmkl_\w+\.so)|Intel oneMKL FATAL`, told(Explanation{
		Means:    "MKL loads a part of itself for this processor while it runs ({lib|libmkl_avx2, libmkl_def}) and does not find it, or finds one of another release: two MKLs are mixed, of conda and pip or of a system.",
		Find:     []Step{run("pip list | grep -i mkl; conda list mkl; find / -name 'libmkl_core.so*' 2>/dev/null", "which MKLs there are"), run("pip install --force-reinstall --no-deps mkl", "one whole release of it")},
		Prevents: ownLibraries,
	})},
	{"too-many-threads", cause, `OpenBLAS blas_thread_init: pthread_create|can't start new thread|BlockingIOError: \[Errno 11\]|[Rr]esource temporarily unavailable|OpenBLAS (?:warning|WARNING): precompiled NUM_THREADS exceeded|libgomp: Thread creation failed|terminate called after throwing an instance of 'std::system_error'|failed to create new OS thread`, told(Explanation{
		Means:    "The kernel gives the process no more threads: its user's limit (ulimit -u), its group's (pids.max of a container, TasksMax= of systemd), or memory. Each worker with its own OpenBLAS or OpenMP starts as many threads as the machine has processors. An old Docker (before 20.10.10) refuses the call that new images use for it.",
		Find:     []Step{run("ulimit -u; cat /sys/fs/cgroup/pids.max /sys/fs/cgroup/pids.current; nproc; docker version --format '{{.Server.Version}}'", "the limits, and what is used"), run("OPENBLAS_NUM_THREADS=1 OMP_NUM_THREADS=1 python3 -c 'import numpy'", "with one thread each it starts")},
		Prevents: ownMachine,
	})},
}
