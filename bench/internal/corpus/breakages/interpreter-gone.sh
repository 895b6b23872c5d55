# environment: searxng/3.9
# what: the interpreter that the environment was made with is removed (pyenv uninstall)
rm -rf "$BASE"
