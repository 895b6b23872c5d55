# environment: esphome/3.9
# what: native modules have their size and nothing but zero bytes (the machine lost power)
for f in "$SITE"/tornado/speedups*.so "$SITE"/yaml/_yaml*.so; do
  n=$(stat -c %s "$f"); : > "$f"; truncate -s "$n" "$f"
done
