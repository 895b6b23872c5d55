package main

import (
	"regexp"
	"strings"
)

// foreignSections are those whose packages serve other languages, or no compilation.
var foreignSections = map[string]bool{
	"cli-mono": true, "debug": true, "doc": true, "education": true, "embedded": true, "fonts": true,
	"games": true, "gnu-r": true, "gnustep": true, "golang": true, "haskell": true, "hamradio": true,
	"java": true, "javascript": true, "kernel": true, "lisp": true, "localization": true, "ocaml": true,
	"perl": true, "php": true, "python": true, "ruby": true, "rust": true, "zope": true,
}

// foreign are packages with headers that no build of a Python extension wants from
// Debian: other languages and machines, other C libraries, the insides of desktops,
// and Debian's own Python, which is never the interpreter that is built for.
var foreign = regexp.MustCompile(`^(librust-|libghc-|golang-|node-|r-|android-|lib(32|64|x32)|libwine|mingw|gcc-|gnat|libgnat|` +
	`libpython|python|pypy|libros|ros-|libkf5|libkf6|libkpim|libkdecorations|plasma-|kwin-|libreoffice|kodi|vdr-|xen|` +
	`libklibc|dietlibc|musl|picolibc|newlib|avr-|libc\+\+abi|linux-headers|liblibreoffice|libmono|libgps-?tk|` +
	`libstk-|libndpi-|libandroid|libfpga|libcamitk|libmbt|libotf|libdune-|libdeal|libroot-|libopenturns|libplayerc|` +
	`libdssi|libgazebo|libignition|libgz-|libsdformat|libapertium|libmeep|libgnuradio|libcapnp|ceph|librados|libxfce|` +
	`libmate|libcinnamon|libdde|libukui|libpeony|libkysdk|libkiran|ukui-|lxqt|liblxqt|elpa-|gap-|libint2|liblinphone|` +
	`libbtas|liboce-|libocct-|libinsighttoolkit|libotb|paraview|libqgis|libns3|libefl|libace-|libwildmagic|libclc|libc6-dev|linux-libc-dev|libcpath|libclaws|claws-|enlightenment|dovecot|opensta|ivtools|libinterviews|libpersalys|librheolef|libgivaro|libeckit|libmapnik|libsight|libcctbx|libogre|libmygui|libvibrant|epics|libobjfw|libexplain|libwvstreams|libpuma|libvmatch|libstdc\+\+|libtulip|libclips|libliggghts|libncbi|libgmsh|libondselsolver|libvisp|libtgowt|libodil|libfoundation|librte-|libdpdk|dpdk|libvpp|vpp-|inspircd|znc|mumble|x2go|libtrilinos|libpetsc|libslepc|libgetfem)` +
	`|-ocaml-dev$|-cross|-private|-none-eabi|-unknown-elf|-private-dev|-mingw|-dbg$|-perl$|-jni$|-java$`)

// extra are packages with headers whose names do not end in -dev.
var extra = map[string]bool{"opencl-c-headers": true, "opencl-clhpp-headers": true, "ladspa-sdk": true, "swig": true, "libpcap0.8-dev": true}

// plausible reports whether a build of a Python extension may want the package for what
// it compiles against.
func plausible(o owner) bool {
	if foreignSections[o.section] || foreign.MatchString(o.name) {
		return false
	}
	return strings.HasSuffix(o.name, "-dev") || extra[o.name]
}
