package audit

import "testing"

func TestIsPythonAPI(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]bool{
		"PyList_New": true, "Py_Initialize": true, "_Py_NoneStruct": true, "_PyGen_Send": true, "PyFPE_jbuf": true,
		"PyUnicodeUCS4_FromString": true, "PyUnstable_Long_IsCompact": true, "PyExc_ValueError": true,
		"PyArray_API": false, "PySideSignalInstance_new": false, "PyInit_spam": false, "python": false, "Pyramid": false, "": false,
	} {
		if IsPythonAPI(name) != want {
			t.Errorf("%q: %t", name, !want)
		}
	}
}

func TestStableSince(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]int{"PyList_New": 2, "PyType_GetName": 11, "PyList_Newest": 0} {
		if minor, ok := StableSince(name); minor != want || ok != (want > 0) {
			t.Errorf("%s: %d, %t", name, minor, ok)
		}
	}
}
