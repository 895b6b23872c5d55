//go:build docker

package endtoend

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

// hosted is a backend whose wheel has a module that is linked with a library which is in
// neither the wheel nor the build's Debian: as one of a driver.
const hosted = packing + `
def build_wheel(directory, config_settings=None, metadata_directory=None):
    fault()
    open("host.c", "w").write("int driver(void) { return 1; }")
    open("host.map", "w").write("DRIVER_1 { global: *; };")
    open("victim.c", "w").write("""
#include <Python.h>
extern int driver(void);
static PyObject *call(PyObject *self, PyObject *none) { return PyLong_FromLong(driver()); }
static PyMethodDef methods[] = {{"call", call, METH_NOARGS, NULL}, {NULL}};
static struct PyModuleDef victim = {PyModuleDef_HEAD_INIT, "victim", NULL, 0, methods};
PyMODINIT_FUNC PyInit_victim(void) { return PyModuleDef_Init(&victim); }
""")
    module = "victim" + sysconfig.get_config_var("EXT_SUFFIX")
    gcc = ["gcc", "-shared", "-fPIC", "-I" + sysconfig.get_path("include"), "-Wl,-z,relro,-z,now"]
    subprocess.run(gcc + ["-o", "libhost.so.1", "host.c", "-Wl,-soname,libhost.so.1", "-Wl,--version-script=host.map"], check=True)
    subprocess.run(gcc + ["-o", module, "victim.c", "libhost.so.1"], check=True)
    return pack(directory, "cp313-cp313-linux_x86_64", module, open(module, "rb").read())

def fault():
FAULT
`

// TestHostLibrary has a module that needs a library of the machine: it is loaded with one
// that stands for it where the recipe says that machines have it, and refused elsewhere.
func TestHostLibrary(t *testing.T) {
	beside(t)
	nonce := fmt.Sprintf("pass # %d", time.Now().UnixNano())
	for _, c := range []struct {
		host, says string
		code       int
	}{
		{host: "libhost.so.1"},
		{host: "libother.so.1", code: 8, says: "libhost.so.1, needed by"},
	} {
		f := newFaultWorldFor(t, strings.Replace(faultRecipe, "container: {base: {debian: bookworm}}", `vm: {glibc: "2.36", host: [`+c.host+`]}`, 1))
		f.backend = hosted
		if _, errs, code := f.build(t, "host", nonce); code != c.code || !strings.Contains(errs, c.says) {
			t.Errorf("with host: [%s]: exit code %d\n%s", c.host, code, last(errs, 6000))
		}
	}
}
