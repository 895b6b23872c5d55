# environment: mapproxy/3.11
# what: a native module was cut off half-way (the disk was full)
f=$(ls "$SITE"/lxml/etree*.so)
truncate -s $(($(stat -c %s "$f") / 2)) "$f"
