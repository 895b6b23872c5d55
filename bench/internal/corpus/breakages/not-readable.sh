# environment: chroma/3.9
# what: native modules may be read by nobody (mode 000)
chmod 000 "$SITE"/httptools/parser/parser*.so
