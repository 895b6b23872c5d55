package audit

import (
	"strings"
	"sync"
)

// unstableFamilies are the beginnings of names that CPython has exported and that the
// stable ABI does not have: what 2.7 and 3.6 to 3.13 export (nm -D), without PyInit, which
// begins every module's name, and what 3.14 has added. See [pythonAPI].
const unstableFamilies = `
	PyAIterWrapper PyAST PyAccu PyArena PyArgv PyAsyncGen PyAsyncGenASend PyAsyncGenAThrow
	PyAsyncGenValueWrapperNew PyAsyncGenWrappedValue PyBaseString PyBufferWrapper
	PyBufferedIOBase PyBufferedRWPair PyBufferedRandom PyBufferedReader PyBufferedWriter
	PyBuiltin PyBuiltins PyBytesIO PyBytesIOBuffer PyBytesWriter PyCObject PyCell PyClass
	PyClassMethod PyCode PyCodecInfo PyCompile PyCompileString PyConfig PyContext
	PyContextToken PyContextTokenMissing PyContextVar PyCoreConfig PyCoro PyCoroWrapper
	PyCrossInterpreterData PyDeadline PyDebugAllocatorStats PyDictView
	PyEvalFramePushAndInit PyEvent PyFPE PyFaulthandler PyFileIO PyFrameLocalsProxy
	PyFunction PyFuture PyGen PyGrammar PyHamt PyHamtItems PyHamtKeys PyHamtValues PyHash
	PyIO PyIOBase PyImportHooks PyImportZip PyIncrementalNewlineDecoder PyInitConfig
	PyInstance PyInstanceMethod PyInstructionSequence PyInt PyInterpreterConfig
	PyInterpreterID PyIntrinsics PyLongWriter PyMainInterpreterConfig PyManagedBuffer
	PyMethod PyMethodDef PyMethodWrapper PyModuleSpec PyMonitoring PyMutex PyNamespace
	PyNode PyNone PyNotImplemented PyNullImporter PyODict PyODictItems PyODictIter
	PyODictKeys PyODictValues PyObjectDict PyOnceFlag PyParkingLot PyParser PyPathConfig
	PyPegen PyPickleBuffer PyPreCmdline PyPreConfig PyRWMutex PyRandom PyRawIOBase
	PyRecursiveMutex PyRefTracer PyRun PyRuntime PyRuntimeState PyST PySTEntry PySemaphore
	PySeqLock PySignal PyStack PyStaticMethod PyStaticType PyStatus PyStdPrinter PyString
	PyStringIO PySymtable PyTextIOBase PyTextIOWrapper PyTime PyToken PyTokenizer
	PyTraceMalloc PyTraceback PyTrash PyTypes PyUnicodeUCS2 PyUnicodeUCS4 PyUnicodeWriter
	PyUnion PyUnstable PyWarnings PyWideStringList PyXI`

// IsPythonAPI reports whether a symbol is CPython's, public or not, of any version, by the
// beginning of its name: where no interpreter is at hand that could be asked.
func IsPythonAPI(name string) bool { return anyPythonAPI().has(name) }

// StableSince is the minor version of Python 3 that added a symbol to the stable ABI; 2
// for what every Python 3 has, false for what is not in it.
func StableSince(name string) (minor int, ok bool) {
	minor, ok = abi3()[name]
	return minor, ok
}

// stableAPI is what the stable ABI tells of CPython's names.
func stableAPI() pythonAPI {
	api := pythonAPI{}
	for name := range abi3() {
		api[family(name)], api[name] = true, true
	}
	return api
}

var anyPythonAPI = sync.OnceValue(func() pythonAPI {
	api := stableAPI()
	for name := range strings.FieldsSeq(unstableFamilies) {
		api[name] = true
	}
	return api
})
