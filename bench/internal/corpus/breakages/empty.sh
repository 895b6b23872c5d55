# environment: gerapy/3.9
# what: files have no bytes (the machine lost power): a native module and a Python file
: > "$(ls "$SITE"/zope/interface/_zope*.so)"
: > "$SITE/cryptography/__init__.py"
