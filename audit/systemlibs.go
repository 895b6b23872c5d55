package audit

import (
	"strings"
	"sync"
)

// SystemPackage says which packages of the distributions have a library that wheels leave to
// the system.
type SystemPackage struct {
	// Debian is that of Debian 12 or Ubuntu, RHEL that of RHEL 9, what it is extended by, or
	// Fedora, Alpine that of Alpine; empty where there is none.
	Debian, RHEL, Alpine string
}

// systemLibraries are libraries by soname: what Debian calls the package, RHEL, Alpine. A
// minus says that a distribution has none of that soname.
const systemLibraries = `
libGL.so.1            libgl1            mesa-libGL           mesa-gl
libGLX.so.0           libglx0           libglvnd-glx         mesa-gl
libEGL.so.1           libegl1           mesa-libEGL          mesa-egl
libGLESv2.so.2        libgles2          libglvnd-gles        mesa-gles
libOpenGL.so.0        libopengl0        libglvnd-opengl      -
libGLdispatch.so.0    libglvnd0         libglvnd             -
libGLU.so.1           libglu1-mesa      mesa-libGLU          glu
libOSMesa.so.8        libosmesa6        mesa-libOSMesa       mesa-osmesa
libgbm.so.1           libgbm1           mesa-libgbm          mesa-gbm
libdrm.so.2           libdrm2           libdrm               libdrm
libvulkan.so.1        libvulkan1        vulkan-loader        vulkan-loader
libOpenCL.so.1        ocl-icd-libopencl1 ocl-icd             opencl-icd-loader
libglib-2.0.so.0      libglib2.0-0      glib2                glib
libgobject-2.0.so.0   libglib2.0-0      glib2                glib
libgio-2.0.so.0       libglib2.0-0      glib2                glib
libgmodule-2.0.so.0   libglib2.0-0      glib2                glib
libgthread-2.0.so.0   libglib2.0-0      glib2                glib
libX11.so.6           libx11-6          libX11               libx11
libX11-xcb.so.1       libx11-xcb1       libX11-xcb           libx11
libXext.so.6          libxext6          libXext              libxext
libXrender.so.1       libxrender1       libXrender           libxrender
libXi.so.6            libxi6            libXi                libxi
libXtst.so.6          libxtst6          libXtst              libxtst
libXrandr.so.2        libxrandr2        libXrandr            libxrandr
libXcursor.so.1       libxcursor1       libXcursor           libxcursor
libXinerama.so.1      libxinerama1      libXinerama          libxinerama
libXfixes.so.3        libxfixes3        libXfixes            libxfixes
libXdamage.so.1       libxdamage1       libXdamage           libxdamage
libXcomposite.so.1    libxcomposite1    libXcomposite        libxcomposite
libXxf86vm.so.1       libxxf86vm1       libXxf86vm           libxxf86vm
libXt.so.6            libxt6            libXt                libxt
libXft.so.2           libxft2           libXft               libxft
libXss.so.1           libxss1           libXScrnSaver        libxscrnsaver
libXmu.so.6           libxmu6           libXmu               libxmu
libXpm.so.4           libxpm4           libXpm               libxpm
libXau.so.6           libxau6           libXau               libxau
libXdmcp.so.6         libxdmcp6         libXdmcp             libxdmcp
libSM.so.6            libsm6            libSM                libsm
libICE.so.6           libice6           libICE               libice
libxcb.so.1           libxcb1           libxcb               libxcb
libxcb-cursor.so.0    libxcb-cursor0    xcb-util-cursor      xcb-util-cursor
libxcb-icccm.so.4     libxcb-icccm4     xcb-util-wm          xcb-util-wm
libxcb-image.so.0     libxcb-image0     xcb-util-image       xcb-util-image
libxcb-keysyms.so.1   libxcb-keysyms1   xcb-util-keysyms     xcb-util-keysyms
libxcb-render-util.so.0 libxcb-render-util0 xcb-util-renderutil xcb-util-renderutil
libxcb-util.so.1      libxcb-util1      xcb-util             xcb-util
libxcb-shm.so.0       libxcb-shm0       libxcb               libxcb
libxcb-render.so.0    libxcb-render0    libxcb               libxcb
libxcb-shape.so.0     libxcb-shape0     libxcb               libxcb
libxcb-randr.so.0     libxcb-randr0     libxcb               libxcb
libxcb-sync.so.1      libxcb-sync1      libxcb               libxcb
libxcb-xfixes.so.0    libxcb-xfixes0    libxcb               libxcb
libxcb-xinerama.so.0  libxcb-xinerama0  libxcb               libxcb
libxcb-xkb.so.1       libxcb-xkb1       libxcb               libxcb
libxcb-glx.so.0       libxcb-glx0       libxcb               libxcb
libxkbcommon.so.0     libxkbcommon0     libxkbcommon         libxkbcommon
libxkbcommon-x11.so.0 libxkbcommon-x11-0 libxkbcommon-x11    libxkbcommon-x11
libwayland-client.so.0 libwayland-client0 libwayland-client  wayland-libs-client
libwayland-cursor.so.0 libwayland-cursor0 libwayland-cursor  wayland-libs-cursor
libwayland-egl.so.1   libwayland-egl1   libwayland-egl       wayland-libs-egl
libwayland-server.so.0 libwayland-server0 libwayland-server  wayland-libs-server
libfontconfig.so.1    libfontconfig1    fontconfig           fontconfig
libfreetype.so.6      libfreetype6      freetype             freetype
libharfbuzz.so.0      libharfbuzz0b     harfbuzz             harfbuzz
libfribidi.so.0       libfribidi0       fribidi              fribidi
libcairo.so.2         libcairo2         cairo                cairo
libcairo-gobject.so.2 libcairo-gobject2 cairo-gobject        cairo-gobject
libpango-1.0.so.0     libpango-1.0-0    pango                pango
libpangocairo-1.0.so.0 libpangocairo-1.0-0 pango             pango
libpangoft2-1.0.so.0  libpangoft2-1.0-0 pango                pango
libgdk_pixbuf-2.0.so.0 libgdk-pixbuf-2.0-0 gdk-pixbuf2       gdk-pixbuf
libgtk-3.so.0         libgtk-3-0        gtk3                 gtk+3.0
libgdk-3.so.0         libgtk-3-0        gtk3                 gtk+3.0
libgtk-4.so.1         libgtk-4-1        gtk4                 gtk4.0
libatk-1.0.so.0       libatk1.0-0       atk                  at-spi2-core
libatk-bridge-2.0.so.0 libatk-bridge2.0-0 at-spi2-atk        at-spi2-core
libatspi.so.0         libatspi2.0-0     at-spi2-core         at-spi2-core
libdbus-1.so.3        libdbus-1-3       dbus-libs            dbus-libs
libgirepository-1.0.so.1 libgirepository-1.0-1 gobject-introspection gobject-introspection
libnss3.so            libnss3           nss                  nss
libnssutil3.so        libnss3           nss-util             nss
libnspr4.so           libnspr4          nspr                 nspr
libcups.so.2          libcups2          cups-libs            cups-libs
libasound.so.2        libasound2        alsa-lib             alsa-lib
libpulse.so.0         libpulse0         pulseaudio-libs      libpulse
libpulse-mainloop-glib.so.0 libpulse-mainloop-glib0 pulseaudio-libs-glib2 libpulse-mainloop-glib
libportaudio.so.2     libportaudio2     portaudio            portaudio
libsndfile.so.1       libsndfile1       libsndfile           libsndfile
libjack.so.0          libjack-jackd2-0  pipewire-jack-audio-connection-kit pipewire-jack
libspeechd.so.2       libspeechd2       speech-dispatcher-libs speech-dispatcher
libgstreamer-1.0.so.0 libgstreamer1.0-0 gstreamer1           gstreamer
libgstvideo-1.0.so.0  libgstreamer-plugins-base1.0-0 gstreamer1-plugins-base gst-plugins-base
libgstapp-1.0.so.0    libgstreamer-plugins-base1.0-0 gstreamer1-plugins-base gst-plugins-base
libpq.so.5            libpq5            libpq                libpq
libmysqlclient.so.21  libmysqlclient21  mysql-libs           -
libmariadb.so.3       libmariadb3       mariadb-connector-c  mariadb-connector-c
libodbc.so.2          libodbc2          unixODBC             unixodbc
libsybdb.so.5         libsybdb5         freetds-libs         freetds
libsqlite3.so.0       libsqlite3-0      sqlite-libs          sqlite-libs
libclntsh.so.19.1     -                 oracle-instantclient-basic -
libssl.so.3           libssl3           openssl-libs         libssl3
libcrypto.so.3        libssl3           openssl-libs         libcrypto3
libssl.so.1.1         -                 compat-openssl11     openssl1.1-compat
libcrypto.so.1.1      -                 compat-openssl11     openssl1.1-compat
libssl.so.10          -                 compat-openssl10     -
libcrypto.so.10       -                 compat-openssl10     -
libgnutls.so.30       libgnutls30       gnutls               gnutls
libgcrypt.so.20       libgcrypt20       libgcrypt            libgcrypt
libsodium.so.23       libsodium23       libsodium            libsodium
libkrb5.so.3          libkrb5-3         krb5-libs            krb5-libs
libgssapi_krb5.so.2   libgssapi-krb5-2  krb5-libs            krb5-libs
libsasl2.so.2         libsasl2-2        -                    libsasl
libsasl2.so.3         -                 cyrus-sasl-lib       libsasl
libldap.so.2          -                 openldap             libldap
libldap-2.5.so.0      libldap-2.5-0     -                    -
libcurl.so.4          libcurl4          libcurl              libcurl
libnghttp2.so.14      libnghttp2-14     libnghttp2           nghttp2-libs
libssh2.so.1          libssh2-1         libssh2              libssh2
libxml2.so.2          libxml2           libxml2              libxml2
libxslt.so.1          libxslt1.1        libxslt              libxslt
libexslt.so.0         libxslt1.1        libxslt              libxslt
libxmlsec1.so.1       libxmlsec1        xmlsec1              xmlsec
libxmlsec1-openssl.so.1 libxmlsec1-openssl xmlsec1-openssl   xmlsec
libexpat.so.1         libexpat1         expat                libexpat
libyaml-0.so.2        libyaml-0-2       libyaml              yaml
libffi.so.8           libffi8           libffi               libffi
libffi.so.6           -                 libffi3.1            -
libcrypt.so.1         libcrypt1         libxcrypt-compat     libxcrypt
libcrypt.so.2         -                 libxcrypt            -
libnsl.so.2           libnsl2           libnsl2              libnsl
libtirpc.so.3         libtirpc3         libtirpc             libtirpc
libz.so.1             zlib1g            zlib                 zlib
libbz2.so.1.0         libbz2-1.0        -                    libbz2
libbz2.so.1           -                 bzip2-libs           libbz2
liblzma.so.5          liblzma5          xz-libs              xz-libs
libzstd.so.1          libzstd1          libzstd              zstd-libs
liblz4.so.1           liblz4-1          lz4-libs             lz4-libs
libsnappy.so.1        libsnappy1v5      snappy               snappy
libreadline.so.8      libreadline8      readline             readline
libncursesw.so.6      libncursesw6      ncurses-libs         libncursesw
libncurses.so.5       libncurses5       ncurses-compat-libs  -
libtinfo.so.6         libtinfo6         ncurses-libs         -
libtinfo.so.5         libtinfo5         ncurses-compat-libs  -
libuuid.so.1          libuuid1          libuuid              libuuid
libblkid.so.1         libblkid1         libblkid             libblkid
libmount.so.1         libmount1         libmount             libmount
libselinux.so.1       libselinux1       libselinux           libselinux
libsystemd.so.0       libsystemd0       systemd-libs         -
libudev.so.1          libudev1          systemd-libs         eudev-libs
libusb-1.0.so.0       libusb-1.0-0      libusb1              libusb
libhidapi-libusb.so.0 libhidapi-libusb0 hidapi               hidapi
libcap.so.2           libcap2           libcap               libcap
libseccomp.so.2       libseccomp2       libseccomp           libseccomp
libaio.so.1           libaio1           libaio               libaio
libnuma.so.1          libnuma1          numactl-libs         numactl
libibverbs.so.1       libibverbs1       libibverbs           rdma-core-libs
librdmacm.so.1        librdmacm1        librdmacm            rdma-core-libs
libpcap.so.0.8        libpcap0.8        -                    libpcap
libpcap.so.1          -                 libpcap              libpcap
libfuse.so.2          libfuse2          fuse-libs            fuse
libmagic.so.1         libmagic1         file-libs            libmagic
libenchant-2.so.2     libenchant-2-2    enchant2             enchant2-libs
libhunspell-1.7.so.0  libhunspell-1.7-0 hunspell             hunspell
libgomp.so.1          libgomp1          libgomp              libgomp
libgfortran.so.5      libgfortran5      libgfortran          libgfortran
libgfortran.so.3      -                 compat-libgfortran-48 -
libquadmath.so.0      libquadmath0      libquadmath          libquadmath
libatomic.so.1        libatomic1        libatomic            libatomic
libstdc++.so.6        libstdc++6        libstdc++            libstdc++
libgcc_s.so.1         libgcc-s1         libgcc               libgcc
libomp.so.5           libomp5           libomp               libomp
libc++.so.1           libc++1           libcxx               libc++
libc++abi.so.1        libc++abi1        libcxxabi            libc++
libunwind.so.8        libunwind8        libunwind            libunwind
libLLVM-14.so.1       libllvm14         llvm-libs            llvm14-libs
libopenblas.so.0      libopenblas0      openblas-threads     openblas
libblas.so.3          libblas3          blas                 blas
liblapack.so.3        liblapack3        lapack               lapack
libcblas.so.3         libatlas3-base    atlas                -
libatlas.so.3         libatlas3-base    atlas                -
libf77blas.so.3       libatlas3-base    atlas                -
libfftw3.so.3         libfftw3-double3  fftw-libs-double     fftw-double-libs
libfftw3f.so.3        libfftw3-single3  fftw-libs-single     fftw-single-libs
libgsl.so.27          libgsl27          gsl                  gsl
libhdf5_serial.so.103 libhdf5-103-1     -                    -
libhdf5.so.200        -                 hdf5                 hdf5
libnetcdf.so.19       libnetcdf19       netcdf               netcdf
libgmp.so.10          libgmp10          gmp                  gmp
libmpfr.so.6          libmpfr6          mpfr                 mpfr4
libmpc.so.3           libmpc3           libmpc               mpc1
libmpi.so.40          libopenmpi3       openmpi              openmpi
libmpi.so.12          libmpich12        mpich                mpich
libgeos_c.so.1        libgeos-c1v5      geos                 geos
libproj.so.25         libproj25         proj                 proj
libgdal.so.32         libgdal32         gdal-libs            gdal
libspatialindex_c.so.6 libspatialindex-c6 spatialindex       libspatialindex
libjpeg.so.62         libjpeg62-turbo   libjpeg-turbo        -
libjpeg.so.8          -                 -                    libjpeg-turbo
libpng16.so.16        libpng16-16       libpng               libpng
libpng12.so.0         -                 libpng12             -
libtiff.so.6          libtiff6          -                    libtiff
libtiff.so.5          -                 libtiff              -
libwebp.so.7          libwebp7          libwebp              libwebp
libwebpdemux.so.2     libwebpdemux2     libwebp              libwebpdemux
libwebpmux.so.3       libwebpmux3       libwebp              libwebpmux
libopenjp2.so.7       libopenjp2-7      openjpeg2            openjpeg
liblcms2.so.2         liblcms2-2        lcms2                lcms2
libimagequant.so.0    libimagequant0    libimagequant        libimagequant
libraqm.so.0          libraqm0          libraqm              libraqm
libavcodec.so.59      libavcodec59      ffmpeg-libs          ffmpeg-libavcodec
libavformat.so.59     libavformat59     ffmpeg-libs          ffmpeg-libavformat
libavutil.so.57       libavutil57       ffmpeg-libs          ffmpeg-libavutil
libswscale.so.6       libswscale6       ffmpeg-libs          ffmpeg-libswscale
libtbb.so.12          libtbb12          tbb                  onetbb
libtbb.so.2           -                 tbb                  -
libhwloc.so.15        libhwloc15        hwloc-libs           hwloc
libzmq.so.5           libzmq5           zeromq               libzmq
libevent-2.1.so.7     libevent-2.1-7    libevent             libevent
libev.so.4            libev4            libev                libev
libuv.so.1            libuv1            libuv                libuv
libcares.so.2         libc-ares2        c-ares               c-ares
librdkafka.so.1       librdkafka1       librdkafka           librdkafka
libleveldb.so.1d      libleveldb1d      -                    -
librocksdb.so.7.8     librocksdb7.8     -                    -
liblmdb.so.0          liblmdb0          lmdb-libs            lmdb
libdb-5.3.so          libdb5.3          libdb                db
libgdbm.so.6          libgdbm6          gdbm-libs            gdbm
libprotobuf.so.32     libprotobuf32     -                    -
libsnmp.so.40         libsnmp40         net-snmp-libs        net-snmp-libs
libpci.so.3           libpci3           pciutils-libs        pciutils-libs
libjemalloc.so.2      libjemalloc2      jemalloc             jemalloc
libtcmalloc.so.4      libgoogle-perftools4 gperftools-libs   gperftools
libcgraph.so.6        libcgraph6        graphviz             graphviz-libs
libgvc.so.6           libgvc6           graphviz             graphviz-libs
libtk8.6.so           libtk8.6          tk                   tk
libtcl8.6.so          libtcl8.6         tcl                  tcl
libSDL2-2.0.so.0      libsdl2-2.0-0     SDL2                 sdl2
libbluetooth.so.3     libbluetooth3     bluez-libs           bluez-libs
libpcsclite.so.1      libpcsclite1      pcsc-lite-libs       pcsc-lite-libs
libv4l2.so.0          libv4l-0          libv4l               v4l-utils-libs
libzbar.so.0          libzbar0          zbar                 zbar
libtesseract.so.5     libtesseract5     tesseract            tesseract-ocr
libdmtx.so.0          libdmtx0b         libdmtx              libdmtx
libcuda.so.1          libcuda1          nvidia-driver-cuda-libs -
libnvidia-ml.so.1     libnvidia-ml1     nvidia-driver-cuda-libs -
libncursesw.so.5      libncursesw5      ncurses-compat-libs  -
libnetfilter_queue.so.1 libnetfilter-queue1 libnetfilter_queue libnetfilter_queue
libsensors.so.5       libsensors5       lm_sensors-libs      lm-sensors-libs
libre2.so.9           libre2-9          -                    -
libicuuc.so.72        libicu72          -                    -
libicui18n.so.72      libicu72          -                    -
libicudata.so.72      libicu72          -                    -
`

// packages are the table by soname and, for other versions, by what comes before ".so".
type packages struct{ bySoname, byStem map[string]SystemPackage }

var systemPackages = sync.OnceValue(func() packages {
	table := packages{map[string]SystemPackage{}, map[string]SystemPackage{}}
	for line := range strings.Lines(systemLibraries) {
		fields := strings.Fields(line)
		if len(fields) != 4 {
			continue
		}
		for i, f := range fields {
			if f == "-" {
				fields[i] = ""
			}
		}
		p := SystemPackage{fields[1], fields[2], fields[3]}
		table.bySoname[fields[0]] = p
		if stem := stemOf(fields[0]); table.byStem[stem] == (SystemPackage{}) {
			table.byStem[stem] = p
		}
	}
	return table
})

// stemOf is a library's name without its version.
func stemOf(soname string) string {
	stem, _, _ := strings.Cut(soname, ".so")
	return stem
}

// SystemPackageOf finds which packages have a library. Exact is false for another version of
// one that is known: a distribution's release may have it.
func SystemPackageOf(soname string) (p SystemPackage, exact, ok bool) {
	table := systemPackages()
	p, ok = table.bySoname[soname]
	if ok {
		return p, true, true
	}
	p, ok = table.byStem[stemOf(soname)]
	return p, false, ok
}

// String lists the packages as a person installs them.
func (p SystemPackage) String() string {
	var parts []string
	for _, d := range []struct{ system, name string }{{"Debian", p.Debian}, {"RHEL", p.RHEL}, {"Alpine", p.Alpine}} {
		if d.name != "" {
			parts = append(parts, d.name+" ("+d.system+")")
		}
	}
	return strings.Join(parts, ", ")
}

// wheelLibraries are the distributions whose wheels bring a library that others need and do
// not: by what the library's name begins with.
var wheelLibraries = []struct{ prefix, distribution string }{
	{"libcudart.so.", "nvidia-cuda-runtime-cu"},
	{"libcublas.so.", "nvidia-cublas-cu"}, {"libcublasLt.so.", "nvidia-cublas-cu"}, {"libnvblas.so.", "nvidia-cublas-cu"},
	{"libcudnn", "nvidia-cudnn-cu"},
	{"libcufft.so.", "nvidia-cufft-cu"}, {"libcufftw.so.", "nvidia-cufft-cu"},
	{"libcufile.so.", "nvidia-cufile-cu"},
	{"libcurand.so.", "nvidia-curand-cu"},
	{"libcusolver.so.", "nvidia-cusolver-cu"}, {"libcusolverMg.so.", "nvidia-cusolver-cu"},
	{"libcusparse.so.", "nvidia-cusparse-cu"},
	{"libcusparseLt.so.", "nvidia-cusparselt-cu"},
	{"libcupti.so.", "nvidia-cuda-cupti-cu"},
	{"libnccl.so.", "nvidia-nccl-cu"},
	{"libnvrtc", "nvidia-cuda-nvrtc-cu"},
	{"libnvJitLink.so.", "nvidia-nvjitlink-cu"},
	{"libnvToolsExt.so.", "nvidia-nvtx-cu"},
	{"libnvjpeg.so.", "nvidia-nvjpeg-cu"},
	{"libnpp", "nvidia-npp-cu"},
	{"libnvshmem_host.so.", "nvidia-nvshmem-cu"},
	{"libnvinfer", "tensorrt-cu"}, {"libnvonnxparser.so.", "tensorrt-cu"},
	{"libtorch", "torch"}, {"libc10", "torch"}, {"libshm.so", "torch"},
	{"libtensorflow_framework.so.", "tensorflow"}, {"libtensorflow_cc.so.", "tensorflow"},
	{"libarrow", "pyarrow"}, {"libparquet.so.", "pyarrow"},
	{"libmkl_", "mkl"}, {"libiomp5.so", "intel-openmp"}, {"libsycl.so.", "intel-sycl-rt"},
	{"libshiboken6.", "shiboken6"}, {"libpyside6", "PySide6_Essentials"}, {"libQt6", "PySide6_Essentials"},
	{"libshiboken2.", "shiboken2"}, {"libpyside2", "PySide2"}, {"libQt5", "PyQt5-Qt5"},
	{"libonnxruntime.so.", "onnxruntime"}, {"libopenvino", "openvino"},
	{"libpaddle", "paddlepaddle"}, {"librccl.so.", "torch"},
}

// wheelOf names the distribution whose wheel brings a library; empty where none is known. CUDA's
// have its major version at the end of their name, which some of its libraries have, too.
func wheelOf(soname string) string {
	for _, w := range wheelLibraries {
		if !strings.HasPrefix(soname, w.prefix) {
			continue
		}
		if !strings.HasSuffix(w.distribution, "-cu") {
			return w.distribution
		}
		return w.distribution + cudaOf(soname)
	}
	return ""
}

// cudaOf is the major version of CUDA that a library of it is for, where its own number says
// so; else the one that most wheels are for.
func cudaOf(soname string) string {
	_, version, _ := strings.Cut(soname, ".so.")
	major, _, _ := strings.Cut(version, ".")
	for _, stem := range []string{"libcudart.so.", "libcublas", "libnvrtc", "libcupti.so.", "libnvJitLink.so.", "libcusparse.so."} {
		if strings.HasPrefix(soname, stem) && (major == "11" || major == "12" || major == "13") {
			return major
		}
	}
	return "12"
}
