package lint

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestStable(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name, tags, file string
		calls            []string
		want             Module
		rules            []string
	}{
		{
			name: "as claimed", tags: "cp38-abi3-linux_x86_64", file: "spam.abi3.so", calls: []string{"PyModule_Create2", "PyVectorcall_NARGS", "PyObject_Vectorcall", "PyUnstable"},
			want: Module{Claims: "3.8", Beyond: []string{"PyUnstable"}, Newer: map[string]string{"PyObject_Vectorcall": "3.12", "PyVectorcall_NARGS": "3.12"}}, rules: []string{"abi3-violation"},
		},
		{
			name: "older would do", tags: "cp311-abi3-linux_x86_64", file: "spam.abi3.so", calls: []string{"PyModule_Create2", "PyModuleDef_Init"},
			want: Module{Claims: "3.11", Lowest: "3.5"}, rules: []string{"abi3-older"},
		},
		{
			name: "the oldest", tags: "cp32-abi3-linux_x86_64", file: "spam.abi3.so", calls: []string{"PyModule_Create2"},
			want: Module{Claims: "3.2", Lowest: "3.2"},
		},
		{
			name: "newer than claimed", tags: "cp38-abi3-linux_x86_64", file: "spam.abi3.so", calls: []string{"PyType_GetModuleByDef"},
			want: Module{Claims: "3.8", Lowest: "3.13", Newer: map[string]string{"PyType_GetModuleByDef": "3.13"}}, rules: []string{"abi3-violation"},
		},
		{
			name: "not in any", tags: "cp38-abi3-linux_x86_64", file: "spam.abi3.so", calls: []string{"_PyObject_GetMethod"},
			want: Module{Claims: "3.8", Beyond: []string{"_PyObject_GetMethod"}}, rules: []string{"abi3-violation"},
		},
		{
			name: "several tags", tags: "cp38.cp39-abi3-linux_x86_64", file: "spam.abi3.so", calls: []string{"PyModule_AddType"},
			want: Module{Claims: "3.8", Lowest: "3.10", Newer: map[string]string{"PyModule_AddType": "3.10"}}, rules: []string{"abi3-violation"},
		},
		{
			name: "by its name alone", tags: "cp39-cp39-linux_x86_64", file: "spam.abi3.so", calls: []string{"PyModule_AddType"},
			want: Module{Claims: "3.9", Lowest: "3.10", Newer: map[string]string{"PyModule_AddType": "3.10"}}, rules: []string{"abi3-violation"},
		},
		{
			name: "named for one Python", tags: "cp38-abi3-linux_x86_64", file: "spam" + suffix, calls: []string{"_PyObject_GetMethod"},
			want: Module{Beyond: []string{"_PyObject_GetMethod"}},
		},
		{
			name: "could be stable", tags: "cp313-cp313-linux_x86_64", file: "spam" + suffix, calls: []string{"PyModuleDef_Init"},
			want: Module{Lowest: "3.5"}, rules: []string{"abi3-possible"},
		},
		{
			name: "could not be stable", tags: "cp313-cp313-linux_x86_64", file: "spam" + suffix, calls: []string{"PyModuleDef_Init", "_PyObject_GetMethod"},
			want: Module{Beyond: []string{"_PyObject_GetMethod"}},
		},
		{
			name: "without a GIL", tags: "cp313-cp313t-linux_x86_64", file: "spam.cpython-313t-x86_64-linux-gnu.so", calls: []string{"PyModuleDef_Init"},
			want: Module{Lowest: "3.5"},
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			r := check(t, wheelOf(test.tags, map[string]string{test.file: module(t, "spam", test.calls)}))
			test.want.File = test.file
			if diff := cmp.Diff([]Module{test.want}, r.Modules); diff != "" {
				t.Errorf("modules (-want +got):\n%s", diff)
			}
			r.Without([]string{"platform-older"})
			if diff := cmp.Diff(append([]string{}, test.rules...), rulesOf(r)); diff != "" {
				t.Errorf("rules (-want +got):\n%s", diff)
			}
		})
	}
}
