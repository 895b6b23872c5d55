# environment: gerapy/3.13
# what: the interpreter's own libpython is deleted
rm "$BASE"/lib/libpython*.so*
