# environment: deeptools/3.9
# what: the Python files were replaced by bytecode beside them (compileall -b)
python -m compileall -q -b "$SITE/matplotlib" >/dev/null 2>&1 || true
find "$SITE/matplotlib" -name '*.py' -delete
